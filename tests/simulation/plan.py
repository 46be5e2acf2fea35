"""A seed becomes a plan: what stands there, who posts what and when, and what goes wrong. A plan is data.

Each plan has a few kinds of trouble only, chosen by chance, and none of them stays: after `heal` all is well again, so
that the oracle can say what must then be. What a plan leaves out (latencies, order) follows from its seed as well.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Act = dict[str, Any]
"""`at` in seconds, `do`, and what that takes."""

STREAMS = ("scores.v1", "scores.v2", "weighted.tags.v1", "testing.rc0")
REST = 150.0
"""Seconds after all is well again, at the end of which the sidecar is at rest."""


@dataclass(frozen=True)
class Plan:
    """All that a seed decides and a person can read."""

    seed: int
    setup: dict[str, Any]
    acts: tuple[Act, ...] = field(default=())
    heal: float = 40.0
    """When all is well again."""

    def without(self, gone: set[int]) -> Plan:
        """Return the plan without some of its acts."""
        return dataclasses.replace(self, acts=tuple(act for at, act in enumerate(self.acts) if at not in gone))


class Maker:
    """Makes a plan of a seed."""

    def __init__(self, seed: int) -> None:
        """Nothing is planned yet."""
        self.random = random.Random(f"{seed}/plan")
        self.seed = seed
        self.acts: list[Act] = []
        self.heal = self.random.choice([15.0, 30.0, 45.0])

    def make(self, kinds: tuple[str, ...] = ()) -> Plan:
        """Return the plan; `kinds` are the troubles that it has, chosen by chance where there are none given."""
        chance = self.random
        setup = self._setup()
        chosen = kinds or tuple(chance.sample(sorted(TROUBLES), chance.choice([1, 1, 2, 2, 3, 4])))
        if "kill" in chosen or "disk" in chosen or "operator" in chosen:
            setup["spool"] = True
        setup["troubles"] = sorted(chosen)
        self._posts(setup)
        for name in sorted(chosen):
            TROUBLES[name](self, setup)
        acts = sorted(self.acts, key=lambda act: float(act["at"]))
        return Plan(self.seed, setup, tuple(acts), self.heal)

    def _setup(self) -> dict[str, Any]:
        chance = self.random
        centres = chance.choice([["eqiad", "codfw"], ["eqiad", "codfw"], ["eqiad"], ["eqiad", "codfw", "third"]])
        spool = chance.random() < 0.6
        options: dict[str, Any] = {}
        if chance.random() < 0.2:
            options["on_ambiguous"] = chance.choice(["spool", "fail"] if spool else ["fail"])
        if chance.random() < 0.15:
            options["coalesce"] = {"max_events": chance.choice([1, 2, 8])}
        if chance.random() < 0.15:
            options["outlier"] = {"ejection": "1s", "max_ejection": "2s"}
        routes = []
        if spool and chance.random() < 0.5:
            routes.append({"name": "ordered", "match": {"stream": "weighted.*"}, "to": "main", "order_by": ["page"]})
        if spool and chance.random() < 0.25:
            routes.append({"name": "spooled", "match": {"stream": "scores.v2"}, "to": "main", "acknowledge": "spooled"})
        if chance.random() < 0.5:
            routes.append({"name": "testing", "match": {"stream": "testing.*"}, "to": "test", "stream": "all.testing"})
        else:
            routes.append({"name": "testing", "match": {"stream": "testing.*"}, "to": "test"})
        routes.append({"name": "scores", "match": {"stream": ["scores.*", "weighted.*"]}, "to": "main"})
        return {
            "spool": spool,
            "centres": {"main": centres, "test": ["only"]},
            "addresses": chance.choice([1, 1, 1, 2]),
            "ttl": chance.choice([5, 5, 30]),
            "options": options,
            "routes": routes,
            "weather": {
                "loss": chance.choice([0.0, 0.0, 0.0, 0.01]),
                "small": chance.choice([0.0, 0.0, 0.2]),
                "base": chance.choice([0.0003, 0.001, 0.015]),
            },
        }

    # --- who posts ---

    def _posts(self, setup: dict[str, Any]) -> None:
        chance = self.random
        rate, mixed = chance.choice([1.0, 3.0, 8.0]), chance.random() < 0.6
        at = chance.uniform(0.5, 1.5)
        while at < self.heal + 12:
            count = chance.choice([1, 1, 1, 1, 2, 5]) if mixed else 1
            events = [self._event(mixed) for _ in range(count)]
            act: Act = {"at": round(at, 4), "do": "post", "events": events, "array": count > 1}
            if chance.random() < 0.5:
                act["request_id"] = True
            if mixed and chance.random() < 0.05:
                act["hasty"] = True
            if mixed and chance.random() < 0.1:
                act |= chance.choice(
                    [{"leaves": 0.01}, {"close": True}, {"pause_at": 0.5, "pause": 0.3}, {"new": True}]
                )
            self.acts.append(act)
            at += chance.expovariate(rate)
        if chance.random() < 0.25:  # many at once
            at = round(chance.uniform(3.0, self.heal), 3)
            for _ in range(chance.choice([20, 60])):
                self.acts.append({"at": at, "do": "post", "events": [self._event(False)], "request_id": True})
        setup["probes"] = self.heal + 10

    def _event(self, mixed: bool) -> dict[str, Any]:
        chance = self.random
        event: dict[str, Any] = {"stream": chance.choice(STREAMS[:3]), "kind": "good"}
        if mixed and chance.random() < 0.15:
            event["stream"] = chance.choice([STREAMS[3], "nowhere.v1"])
        if mixed and chance.random() < 0.12:
            event["kind"] = chance.choice(["invalid", "error"])
        if event["stream"].startswith("weighted") and event["kind"] != "error":  # which its key would wait for, rightly
            event["key"] = f"page {chance.randint(1, 3)}"
        if chance.random() < 0.3:
            event["id"] = f"id-{chance.randint(1, 10**9)}"
        elif mixed and chance.random() < 0.05:
            event["id"] = "same"
        if chance.random() < 0.02:
            event["size"] = chance.choice([20_000, 200_000])
        return event

    # --- what goes wrong ---

    def when(self) -> float:
        """Return a moment before all is well."""
        return round(self.random.uniform(1.0, self.heal - 2.0), 3)

    def spans(self, most: int = 3) -> list[tuple[float, float]]:
        """Return some spans of time that do not overlap, all before `heal`."""
        cuts = sorted(self.when() for _ in range(2 * self.random.randint(1, most)))
        return list(zip(cuts[::2], cuts[1::2], strict=True))

    def act(self, at: float, do: str, **more: Any) -> None:
        """Plan something."""
        self.acts.append({"at": at, "do": do, **more})


def _gates(maker: Maker, setup: dict[str, Any]) -> None:
    """EventGates fail, one or all of them."""
    chance = maker.random
    names = [f"main/{name}" for name in setup["centres"]["main"]]
    for begin, end in maker.spans():
        bad = names if chance.random() < 0.25 else [chance.choice(names)]
        mode = chance.choice(MODES)(chance)
        for name in bad:
            maker.act(begin, "gate", gate=name, mode=mode)
            maker.act(end, "gate", gate=name, mode={"mode": "well"})


MODES: tuple[Callable[[random.Random], dict[str, Any]], ...] = (
    lambda chance: {"mode": "hang", "takes": chance.random() < 0.5, "checks": chance.random() < 0.6},
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
    lambda chance: {"mode": "too large", "most": chance.choice([1, 2, 10])},
    lambda chance: {
        "mode": "lies",
        "how": chance.choice(["no body 207", "cut 207", "unknown ids", "200", "204", "wrong count"]),
    },
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
    """DNS says wrong things, or nothing, of one name or of all."""
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


def _still(maker: Maker, _: dict[str, Any]) -> None:
    """The process gets no processor time."""
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
    """The process is killed, or told to stop, and started again."""
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


def _disk(maker: Maker, _: dict[str, Any]) -> None:
    """The disk is slow, hangs, is full or broken."""
    for begin, end in maker.spans():
        mode = maker.random.choice(["slow", "hangs", "hangs late", "full", "broken"])
        maker.act(begin, "disk", mode=mode)
        maker.act(end, "disk", mode="well")


def _edits(maker: Maker, setup: dict[str, Any]) -> None:
    """routes.yaml is edited, well and badly."""
    chance = maker.random
    for begin, end in maker.spans():
        edit = chance.choice(["broken", "refuses", "renames", "removes", "options", "accepts"])
        maker.act(begin, "edit", edit=edit, number=chance.randint(1, 99))
        if chance.random() < 0.8:
            maker.act(end, "edit", edit="first", number=0)
    setup["edits"] = True


def _poison(maker: Maker, _: dict[str, Any]) -> None:
    """Single events bring down what they are in, or can be read in two ways."""
    posts = [act for act in maker.acts if act["do"] == "post"]
    for act in maker.random.sample(posts, min(3, len(posts))):
        event = maker.random.choice(act["events"])
        event["kind"] = maker.random.choice(["poison", "poison", "dotted"])


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


TROUBLES: dict[str, Callable[[Maker, dict[str, Any]], None]] = {
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
}


def plan_of(seed: int, troubles: tuple[str, ...] = ()) -> Plan:
    """Return the plan of a seed, with these troubles only where some are given."""
    return Maker(seed).make(troubles)
