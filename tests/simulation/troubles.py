"""The kinds of trouble that a plan may have: each adds its acts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.simulation.hops import plan_hops
from tests.simulation.ledger import COPIES
from tests.simulation.plan import Maker, Plan, Trouble


def _gates(maker: Maker, setup: dict[str, Any]) -> None:
    """EventGates fail, one or all of them."""
    chance = maker.random
    names = [f"main/{name}" for name in setup["centres"]["main"]]
    for begin, end in maker.spans():
        bad = names if chance.random() < 0.4 else [chance.choice(names)]
        mode, alike = chance.choice(MODES)(chance), chance.random() < 0.6
        if mode["mode"] == "hang" and chance.random() < 0.8:  # many events are about to be sent there
            maker.many(round(begin + 0.01, 3), 100)
        for name in bad:
            maker.act(begin, "gate", gate=name, mode=mode if alike else chance.choice(MODES)(chance))
            maker.act(end, "gate", gate=name, mode={"mode": "well"})
    if maker.more.random() < 0.25:
        begin, mode = maker.more.uniform(1.0, maker.heal - 4.0), maker.more.choice(RARE_MODES)
        for name in names if maker.more.random() < 0.5 else [maker.more.choice(names)]:
            maker.act(round(begin, 3), "gate", gate=name, mode=mode)
            maker.act(round(begin + 3.0, 3), "gate", gate=name, mode={"mode": "well"})


def _busy(maker: Maker, setup: dict[str, Any]) -> None:
    """Many events come at once while an EventGate hangs, the others take their time, and a packet is lost."""
    chance = maker.random
    setup["takes"] = chance.choice([0.05, 0.2])
    names = [f"main/{name}" for name in setup["centres"]["main"]]
    for begin, end in maker.spans(2):
        bad = chance.choice(names)
        maker.act(begin, "gate", gate=bad, mode=_hang(chance))
        maker.act(end, "gate", gate=bad, mode={"mode": "well"})
        for name in names:
            if name != bad and chance.random() < 0.5:
                maker.act(begin, "lose", gate=name)
        maker.many(round(begin + 0.01, 3), 100)


def _hang(chance: random.Random) -> dict[str, Any]:
    return {"mode": "hang", "takes": chance.random() < 0.5, "checks": chance.random() < 0.6}


MODES: tuple[Callable[[random.Random], dict[str, Any]], ...] = (
    _hang,
    _hang,
    lambda chance: {"mode": "slow", "seconds": chance.choice([0.2, 0.6, 1.2, 3.0]), "late": chance.random() < 0.5},
    lambda chance: {
        "mode": "cut",
        "takes": chance.random() < 0.5,
        "after": chance.choice([0, 0, 20, 90]),
        "politely": chance.random() < 0.5,
    },
    lambda chance: {"mode": "drip", "seconds": chance.choice([0.001, 0.05])},
    lambda chance: {
        "mode": "status",
        "status": chance.choice([500, 502, 503, 404, 403, 301, 421]),
        "checks": chance.random() < 0.3,
    },
    lambda chance: {
        "mode": "status",
        "status": chance.choice([503, 429]),
        "retry_after": chance.choice(["1", "0", "120", "Thu, 01 Jan 2026 00:00:00 GMT", "soon", "-1", "1.5"]),
    },
    lambda _: {"mode": "kafka"},
    lambda _: {"mode": "kafka"},
    lambda chance: {"mode": "too large", "most": chance.choice([1, 2, 10])},
    lambda chance: {
        "mode": "lies",
        "how": chance.choice(["no body 207", "cut 207", "unknown ids", "200", "204", "wrong count"]),
    },
)


RARE_MODES: tuple[dict[str, Any], ...] = (
    {"mode": "status", "status": 503, "retry_after": "\u00b2"},
    {"mode": "status", "status": 429, "retry_after": "\u00b2"},
    {"mode": "lies", "how": "202"},
)


def _doors(maker: Maker, setup: dict[str, Any]) -> None:
    """Machines refuse connections or fall silent."""
    chance = maker.random
    names = [f"main/{name}" for name in setup["centres"]["main"]]
    for begin, end in maker.spans():
        bad = names if chance.random() < 0.3 else [chance.choice(names)]
        door = chance.choice(["refuse", "silent", "hole"])
        for name in bad:
            maker.act(begin, "door", gate=name, door=door)
            maker.act(end, "door", gate=name, door="open")


def _names(maker: Maker, setup: dict[str, Any]) -> None:
    """DNS gives wrong answers or none, for one name or all."""
    chance = maker.random
    names = [f"main/{name}" for name in setup["centres"]["main"]]
    for begin, end in maker.spans():
        mode = chance.choice(["nxdomain", "nodata", "alias", "servfail", "silent"])
        for name in names if chance.random() < 0.5 else [chance.choice(names)]:
            maker.act(begin, "dns", gate=name, mode=mode)
            maker.act(end, "dns", gate=name, mode="right")
    if chance.random() < 0.4:
        maker.act(maker.when(), "move", gate=chance.choice(names), dies=chance.random() < 0.5)
    if chance.random() < 0.25:
        setup["many"] = {"gate": names[0], "dead": 16, "all": 40}
    more = maker.more
    if more.random() < 0.3:  # DNS is ahead of the machine, and right
        at, early = maker.later(), more.choice([6.0, 15.0])
        early = max(0.1, min(early, maker.heal - at))  # ready by the time when all is well
        for name in names if more.random() < 0.7 else [more.choice(names)]:
            maker.act(at, "dns", gate=name, mode="right")
            maker.act(at, "move", gate=name, dies=False, early=early)
    if "many" in setup and maker.apart("many").random() < 0.5:  # all of them are dead
        maker.act(maker.apart("many at").uniform(1.0, maker.heal / 2), "door", gate=names[0], door="refuse")
    start = maker.apart("start")
    if start.random() < 0.3:  # nothing is known yet while DNS is wrong
        at = round(start.uniform(1.0, maker.heal - 2.0), 3)
        for name in names:
            maker.act(at, "dns", gate=name, mode=start.choice(["nxdomain", "servfail"]))
        maker.act(round(at + 0.1, 3), "kill", step=0)
        maker.act(round(at + 0.3, 3), "start")


def _still(maker: Maker, _: dict[str, Any]) -> None:
    """The process is paused."""
    for begin, end in maker.spans():
        longest = maker.random.choice([0.05, 0.3, 2.0, 3.5, 10.0])
        maker.act(begin, "still", seconds=round(min(longest, max(0.05, end - begin)), 3))


def _clock(maker: Maker, _: dict[str, Any]) -> None:
    """The wall clock is wrong."""
    for begin, end in maker.spans(2):
        maker.act(begin, "clock", step=maker.random.choice([-86400.0, 90000.0, 3600.0, -30.0]))
        if maker.random.random() < 0.7:
            maker.act(end, "clock", step=0.0)


def _kill(maker: Maker, _: dict[str, Any]) -> None:
    """The process is killed or stopped, and started again."""
    for begin, end in maker.spans():
        how = maker.random.choice(["kill", "kill", "kill in job", "term"])
        again = round(begin + maker.random.choice([0.1, 0.5, 2.0]), 3)
        if how == "term":
            maker.act(begin, "term")
            again = round(max(end, begin + 0.2), 3)
        else:
            step = maker.random.randint(1, 400) if how == "kill in job" else 0
            maker.act(begin, "kill", step=step)
        maker.act(again, "start")
        if how == "kill" and maker.random.random() < 0.3:  # what waits is not known yet while new events come
            maker.act(round(max(0.1, begin - 2.0), 3), "door", gate="main/*", door="refuse")
            maker.act(round(again - 0.01, 3), "disk", mode="hangs")
            maker.act(round(again + 0.2, 3), "door", gate="main/*", door="open")
            maker.act(round(again + 6.0, 3), "disk", mode="well")


def _disk(maker: Maker, _: dict[str, Any]) -> None:
    """The disk is slow, hangs, is full, or fails."""
    for begin, end in maker.spans():
        mode = maker.random.choice(["slow", "hangs", "hangs late", "full", "broken"])
        maker.act(begin, "disk", mode=mode)
        maker.act(end, "disk", mode="well")


def _edits(maker: Maker, setup: dict[str, Any]) -> None:
    """routes.yaml is edited, with good and broken versions."""
    chance = maker.random
    for begin, end in maker.spans():
        edit = chance.choice(["broken", "no file", "refuses", "renames", "removes", "options", "accepts"])
        maker.act(begin, "edit", edit=edit, number=chance.randint(1, 99))
        if chance.random() < 0.3:
            maker.act(round(begin + 6.0, 3), "kill", step=0)
            maker.act(round(begin + 6.2, 3), "start")
        if chance.random() < 0.8:
            maker.act(end, "edit", edit="first", number=0)
    setup["edits"] = True


def _poison(maker: Maker, _: dict[str, Any]) -> None:
    """Single events make their whole request fail."""
    for act in maker.random.sample(posts := maker.posts(), min(3, len(posts))):
        maker.random.choice(act["events"])["kind"] = "poison"
    if maker.more.random() < 0.4:  # a producer of which EventGate takes nothing
        at = maker.later()
        for number in range(12):
            event = {"stream": "scores.v2", "kind": "error"}
            maker.act(round(at + 0.15 * number, 3), "post", events=[event], array=False)


def _network(maker: Maker, setup: dict[str, Any]) -> None:
    """Connections break at any byte, fall silent, or are slow."""
    chance = maker.random
    names = [f"main/{name}" for name in setup["centres"]["main"]]
    for _ in range(chance.randint(1, 6)):
        gate, after, ours = chance.choice(names), chance.choice([0, 1, 50, 400]), chance.random() < 0.5
        maker.act(maker.when(), "reset", gate=gate, after=after, ours=ours)
    for begin, end in maker.spans(2):
        gate, base = chance.choice(names), chance.choice([0.05, 0.2])
        maker.act(begin, "weather", gate=gate, base=base)
        maker.act(end, "weather", gate=gate, base=setup["weather"]["base"])


def _dotted(maker: Maker, _: dict[str, Any]) -> None:
    """Some events can be read in two ways."""
    for act in maker.random.sample(posts := maker.posts(), min(3, len(posts))):
        maker.random.choice(act["events"])["kind"] = "dotted"


def _twins(maker: Maker, setup: dict[str, Any]) -> None:
    """Many events share an id, and EventGate reports errors for some of them, also after an outage."""
    for act in maker.posts():
        for event in act["events"]:
            if maker.random.random() < 0.4:
                event["id"] = f"twin {maker.random.randint(1, 3)}"
            if event["stream"] != "weighted.tags.v1" and maker.random.random() < 0.1:
                event["kind"] = "error"
    begin = maker.random.uniform(2.0, maker.heal / 2)
    for name in setup["centres"]["main"] if maker.random.random() < 0.7 else ():
        maker.act(round(begin, 3), "door", gate=f"main/{name}", door="refuse")


def _ejections(maker: Maker, setup: dict[str, Any]) -> None:
    """An endpoint fails all the time, and is tried again at once each time."""
    setup["centres"]["main"] = ["eqiad", "codfw"]
    setup["options"] = {"outlier": {"consecutive": 1, "ejection": "1ms", "max_ejection": "1ms"}}
    maker.act(1.0, "gate", gate="main/eqiad", mode={"mode": "status", "status": 502})
    at = 1.5
    while at < maker.heal:
        event = {"stream": "scores.v1", "kind": "good"}
        maker.acts.append({"at": round(at, 4), "do": "post", "events": [event], "array": False})
        at += 0.03


def _strangers(maker: Maker, _: dict[str, Any]) -> None:
    """Clients use unusual HTTP."""
    for _unused in range(maker.random.randint(1, 4)):
        what = maker.random.choice(["offers", "no host", "upgrade and close", "bad chunk", "half a request"])
        target = maker.random.choice(["/v1/events", "/v1/events", "/nope", "/_sidecar/status.json"])
        count = maker.random.choice([3, 980])
        target = "/v1/events" if what == "offers" else target
        maker.act(maker.when(), "stranger", what=what, target=target, count=count)


def _authority(maker: Maker, setup: dict[str, Any]) -> None:
    """EventGates use TLS, and their authority changes at some moment."""
    setup["tls"] = True
    at = round(maker.random.uniform(3.0, maker.heal - 35.0), 3)
    maker.act(at, "authority", after=maker.random.choice([0.0, 10.0]))


def _damage(maker: Maker, _: dict[str, Any]) -> None:
    """The spool's file is damaged while the sidecar is down; it may be killed while it recovers the file."""
    at = round(maker.random.uniform(4.0, maker.heal - 6.0), 3)
    maker.act(round(at - 2.5, 3), "door", gate="main/*", door="refuse")
    maker.act(at, "kill", step=0)
    how = maker.random.choice(["zeros", "zeros", "flip", "cut", "header"])
    if maker.apart("bodies").random() < 0.4:  # the file is mostly bodies, in which SQLite does not notice a flipped bit
        how = "flip"
        for act in maker.posts():
            for event in act["events"] if at - 2.5 < act["at"] < at else ():
                event["size"] = 20_000
    maker.act(round(at + 0.1, 3), "damage", how=how, place=maker.random.random(), bit=maker.random.randint(0, 7))
    maker.act(round(at + 0.2, 3), "start")
    if maker.random.random() < 0.6:
        step = maker.random.choice([maker.random.randint(1, 300), maker.random.randint(1, 3000)])
        maker.act(round(at + 0.2001, 4), "kill", step=step)
        maker.act(round(at + 1.5, 3), "start")


def _overlap(maker: Maker, _: dict[str, Any]) -> None:
    """The next sidecar starts on the directory while the previous one still runs."""
    at = round(maker.random.uniform(3.0, maker.heal - 8.0), 3)
    if maker.random.random() < 0.7:
        maker.act(round(at - 2.5, 3), "door", gate="main/*", door=maker.random.choice(["refuse", "hole", "hole"]))
    if maker.random.random() < 0.3:
        maker.act(round(at - 0.1, 3), "unlink", name="lock")
    maker.act(at, "overlap")
    maker.act(round(at + maker.random.uniform(0.5, 5.0), 3), "end of the old one")


def _unlinked(maker: Maker, _: dict[str, Any]) -> None:
    """Files of the spool are deleted while the sidecar runs; it is killed later."""
    at = round(maker.random.uniform(3.0, maker.heal - 8.0), 3)
    maker.act(round(at - 2.0, 3), "door", gate="main/*", door="refuse")
    maker.act(at, "unlink", name=maker.random.choice(["spool.db-wal", "spool.db-wal", "lock", "spool.db-shm"]))
    maker.act(round(at + 4.0, 3), "kill", step=0)
    maker.act(round(at + 4.5, 3), "start")


def _tightened(maker: Maker, _: dict[str, Any]) -> None:
    """Events wait in the spool while the rules become stricter or different."""
    at = round(maker.random.uniform(2.0, 8.0), 3)
    maker.act(at, "door", gate="main/*", door=maker.random.choice(["refuse", "silent"]))
    edit = maker.random.choice(["accepts", "refuses", "renames", "moves"])
    number = maker.random.randint(1, 99)
    if maker.more.random() < 0.25:
        edit = "other name"
    maker.act(round(at + 4.0, 3), "edit", edit=edit, number=number, stays=True)
    maker.act(round(at + 25.0, 3), "door", gate="main/*", door="open")


def _full(maker: Maker, setup: dict[str, Any]) -> None:
    """The spool is small, and events are large."""
    setup["quota"] = maker.random.choice([400_000, 1_000_000])
    for act in maker.posts():
        for event in act["events"]:
            if maker.random.random() < 0.3:
                event["size"] = maker.random.choice([500, 5_000, 50_000, 150_000])
    maker.act(maker.random.uniform(2.0, maker.heal - 4.0), "door", gate="main/*", door="refuse")


def _mirror(maker: Maker, setup: dict[str, Any]) -> None:
    """Routes have a mirror to an upstream that accepts some of the copies and fails most of the time."""
    chance = maker.random
    setup["centres"][COPIES] = ["eqiad", "codfw"][: chance.choice([1, 2])]
    for route in setup["routes"]:
        if chance.random() < 0.7:
            route["mirror"] = {"to": COPIES, "percent": chance.choice([100, 100, 30])}
        if chance.random() < 0.3:
            route.setdefault("mirror", {"to": COPIES})["stream"] = "copied.v1"
    if chance.random() < 0.5:
        setup["accepts"] = {COPIES: {"accepts": [{"stream": ["*.v2", "testing.*", "copied.*"]}]}}
    for begin, end in maker.spans():
        mode = chance.choice(MODES)(chance)
        for name in setup["centres"][COPIES]:
            maker.act(begin, "gate", gate=f"{COPIES}/{name}", mode=mode)
            maker.act(end, "gate", gate=f"{COPIES}/{name}", mode={"mode": "well"})
    if chance.random() < 0.3:
        maker.act(maker.when(), "door", gate=f"{COPIES}/*", door=chance.choice(["refuse", "silent", "hole"]))


def _operator(maker: Maker, _: dict[str, Any]) -> None:
    """An operator retries, drops, exports and verifies what waits in the spool while EventGate is away."""
    chance = maker.apart("operator's acts")  # so that the rest of the plan stays as it was
    at = round(chance.uniform(2.0, maker.heal - 10.0), 3)
    maker.act(at, "door", gate="main/*", door=chance.choice(["refuse", "silent"]))
    maker.act(round(at + chance.uniform(2.0, 8.0), 3), "door", gate="main/*", door="open")
    for _unused in range(chance.randint(1, 6)):
        command = chance.choice(["retry", "retry", "drop", "export", "verify"])
        maker.act(round(at + chance.uniform(1.0, 9.0), 3), "operate", command=command)


TROUBLES: dict[str, Trouble] = {
    "gates": _gates,
    "doors": _doors,
    "names": _names,
    "still": _still,
    "clock": _clock,
    "kill": _kill,
    "disk": _disk,
    "edits": _edits,
    "poison": _poison,
    "network": _network,
    "dotted": _dotted,
    "twins": _twins,
    "ejections": _ejections,
    "strangers": _strangers,
    "authority": _authority,
    "damage": _damage,
    "overlap": _overlap,
    "unlinked": _unlinked,
    "tightened": _tightened,
    "full": _full,
    "hops": plan_hops,
    "busy": _busy,
    "mirror": _mirror,
    "operator": _operator,
}


def plan_of(seed: int, troubles: tuple[str, ...] = ()) -> Plan:
    """Return the plan of a seed, with only these troubles if some are given."""
    return Maker(seed, TROUBLES).make(troubles)
