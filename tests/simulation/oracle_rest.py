"""The promises about what is left, and about what must go on: the second half of the oracle."""

from __future__ import annotations

import contextlib
import itertools
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.simulation import rules
from tests.simulation.ledger import Event, Exchange, Request
from tests.simulation.oracle import Broken, in_spool, invariant, said
from tests.simulation.plan import REST
from tests.simulation.sidecar import changed_by, passes_check

if TYPE_CHECKING:
    from tests.simulation.world import World

MAX_TURNS = 8
"""Of so many events each has had its turn by the end."""
WELL_SECONDS = 10.0
"""For so long an endpoint must have been well before it must take an event."""


@invariant
def it_never_ends_by_itself(world: World) -> Iterator[Broken]:
    """The process ends by a signal only."""
    for life in world.lives:
        if life.ended is not None and life.ended.startswith("crashed"):
            yield Broken("it_never_ends_by_itself", f"sidecar {life.life} {life.ended}", 0.0)
        good = life.life > 1 or not world.plan.setup.get("edits")  # the first one leaves its last good file
        if life.ended is not None and life.ended.startswith("does not start") and good:
            yield Broken("it_never_ends_by_itself", f"sidecar {life.life} {life.ended}", 0.0)


@invariant
def no_error_of_our_own(world: World) -> Iterator[Broken]:
    """There is no exception that nobody caught, and none that was caught only as the last resort."""
    for process, context in world.loop.errors:
        if process is not None and process.alive:
            yield Broken("no_error_of_our_own", f"{context.get('message')}: {context.get('exception')!r}", 0.0)
    for at, who, what in world.ledger.story:
        if who == "sidecar" and what.startswith("unexpected"):
            yield Broken("no_error_of_our_own", what, at)


@invariant
def at_rest_nothing_is_held(world: World) -> Iterator[Broken]:
    """At rest everything is back to zero: in flight, trials, budget, waiting POSTs, bytes; tasks are bounded."""
    if in_spool(world, "waiting"):
        return  # one may be on its way again at just that moment
    for what, value in sorted(world.sidecar.held().items()):
        if value:
            yield Broken("at_rest_nothing_is_held", f"at rest {what} is {value}", world.plan.heal)


@invariant
def liveness_after_faults(world: World) -> Iterator[Broken]:
    """Once faults end, events are delivered live within 10 s."""
    for request in world.ledger.requests:
        if request.began < world.plan.setup["probes"] or request.sent is None or request.end == "left":
            continue
        if not _all_good(world, request) or not world.ledger.quiet("sidecar", request.began, request.began + 1.0):
            continue
        if _fills_the_spool(world, request):
            continue
        if request.end != "answered" or request.status not in (201, 202):
            text = f"{request} was answered {request.status or request.end} though all was well"
            yield Broken("liveness_after_faults", text, request.began, tuple(each.number for each in request.events))


@invariant
def the_spool_empties(world: World) -> Iterator[Broken]:
    """Once faults end, the spool empties.

    Each event waits for its turn, which takes up to a minute: many that make their POST fail are a fault that lasts.
    """
    waiting, dead = in_spool(world, "waiting"), in_spool(world, "dead")
    if sum(world.ledger.events[number].kind == "poison" for number in waiting) > MAX_TURNS:
        return
    blocked = {world.ledger.events[each].key for each in waiting if world.ledger.events[each].kind != "good"} - {None}
    for number in sorted(waiting | dead):
        event = world.ledger.events[number]
        if number in waiting and event.key in blocked:
            continue  # behind one of its key that EventGate does not take yet
        allowed = [rules.decide(config, event.stream) for _, config in world.configs]
        damaged = number in dead and "damage" in world.plan.setup["troubles"]
        if event.kind == "good" and None not in allowed and not damaged:
            state = "is a dead letter" if number in dead else "still waits"
            text = f"event {number}, which EventGate would take, {state} long after all is well"
            yield Broken("the_spool_empties", text, world.plan.heal, (number,))


@invariant
def the_preferred_datacenter_is_back(world: World) -> Iterator[Broken]:
    """Once faults end, the preferred datacenter is back."""
    preferred = f"main/{world.plan.setup['centres']['main'][0]}"
    late = [each for each in world.ledger.arrivals if each.upstream == "main" and each.at > world.plan.heal + 120.0]
    for arrival in late:
        if arrival.gate != preferred:
            text = f"long after all is well an event went to {arrival.gate}"
            yield Broken("the_preferred_datacenter_is_back", text, arrival.at)


@invariant
def what_one_endpoint_takes_is_not_refused(world: World) -> Iterator[Broken]:
    """At no time is an event refused while an endpoint of its upstream would take it."""
    for request in world.ledger.requests:
        if request.end != "answered" or request.sent is None or not _all_good(world, request):
            continue
        if _fills_the_spool(world, request):
            continue
        words = said(request)
        full = "quota" in world.plan.setup and b"the spool is full" in request.body
        # A key may wait for the disk, or for room in a small spool.
        ordered = full or not world.ledger.quiet("disk", request.began - 2.0, request.ended or 0.0)
        failed = [
            each
            for each in request.events
            if words[each.number] in ("error", "unknown") and not (ordered and each.key is not None)
        ]
        if failed and (well := _well_meanwhile(world, failed[0], request)):
            others = [each for each in failed[0].exchanges if each.gate != well and each.at <= (request.ended or 0.0)]
            if len(others) > 1 and not world.ledger.quiet("packets", request.began, request.ended or 0.0):
                continue  # a packet to it was lost, and meanwhile both attempts reached another
            text = f"event {failed[0].number} was answered {request.status} while {well} was well"
            yield Broken("what_one_endpoint_takes_is_not_refused", text, request.ended or 0.0, (failed[0].number,))


@invariant
def the_spool_takes_what_no_endpoint_takes(world: World) -> Iterator[Broken]:
    """With a spool an event that could not be delivered is stored, and answered 202."""
    for request in world.ledger.requests:
        if not world.plan.setup["spool"] or request.end != "answered" or not _all_good(world, request):
            continue
        begin, end = request.began, request.ended or 0.0
        quiet = world.ledger.quiet("disk", begin - 8.0, end) and world.ledger.quiet("sidecar", begin - 4.0, end)
        modes = {exchange.mode for each in request.events for exchange in each.exchanges}
        once = world.plan.setup["options"].get("on_ambiguous") == "fail"
        if request.status in (201, 202) or not quiet or once or "too large" in modes:
            continue
        if _seemed_at_fault(world, request):
            continue
        numbers = tuple(each.number for each in request.events)
        if world.plan.setup.get("quota"):
            if b"spool" not in request.body:
                text = f"{request} was answered {request.status}, and nothing names the spool"
                yield Broken("a_full_spool_says_so", text, end, numbers)
        else:
            text = f"{request} was answered {request.status} though the spool was there"
            yield Broken("the_spool_takes_what_no_endpoint_takes", text, end, numbers)


def _seemed_at_fault(world: World, request: Request) -> bool:
    """Whether an endpoint that erred with an event had last accepted others: then no one can tell whose fault it is.

    The rule blames the event (docs/health.md), so the first one at each address is answered 500 as Kafka goes down.
    """
    erred = [each for event in request.events for each in event.exchanges if each.mode == "kafka"]
    return request.status in (500, 207) and any(_had_accepted(world, each) for each in erred)


def _had_accepted(world: World, erred: Exchange) -> bool:
    """Whether the last answer of the same address that told whether it can produce was that it can."""
    here = [each for each in world.ledger.exchanges if (each.address, each.life) == (erred.address, erred.life)]
    answered = [each for each in here if not (each.refused or each.events[0].request.hasty)]
    told = [each for each in answered if each.accepted or _errs(each)]
    before = [each for each in told if each.read is not None and each.read < (erred.read or 0.0)]
    return bool(before) and bool(max(before, key=lambda each: each.read or 0.0).accepted)


def _errs(exchange: Exchange) -> bool:
    return any(
        each.kind == "error" or (exchange.mode == "kafka" and each.kind != "invalid") for each in exchange.events
    )


@invariant
def a_full_spool_says_so(_: World) -> Iterator[Broken]:
    """A full spool means 503 and says so: the answer names the spool; see `the_spool_takes_what_no_endpoint_takes`."""
    return iter(())


@invariant
def a_hang_is_not_felt(world: World) -> Iterator[Broken]:
    """A hung datacenter is not felt by the model server: the next one answers within some hundred milliseconds."""
    weather = world.plan.setup["weather"]
    if weather["loss"] or weather["small"] or "on_ambiguous" in world.plan.setup["options"]:
        return
    slow = [act for act in world.plan.acts if act["do"] == "gate" and act["mode"]["mode"] == "slow"]
    for request in world.ledger.requests:
        if request.end != "answered" or request.sent is None or not _all_good(world, request) or request.began < 3.0:
            continue
        slowest = max([act["mode"]["seconds"] for act in slow if act["at"] < request.began], default=0.0)
        takes = world.plan.setup.get("takes", 0.0) + slowest
        seconds = (request.ended or 0.0) - request.sent
        event = request.events[0]
        plain = len(request.events) == 1 and event.key is None
        quiet = all(world.ledger.quiet(what, request.began - 2.0, request.sent + 5.0) for what in ("disk", "packets"))
        if (
            seconds > 0.7 + 4 * takes  # one that took 0.2 s just now may take 0.6 s, which is no hang
            and plain
            and quiet
            and _well_meanwhile(world, event, request)
        ):
            text = f"{request} waited {seconds:.2f} s beside an endpoint that was well"
            yield Broken("a_hang_is_not_felt", text, request.began, (event.number,))


@invariant
def each_request_has_one_answer(world: World) -> Iterator[Broken]:
    """HTTP: a request has one answer, one without Host is refused, and a connection ends where that is asked for."""
    for each in world.strangers:
        if not world.ledger.quiet("sidecar", each.began, each.began + 8.0):
            continue
        if each.what in ("bad chunk", "no host", "upgrade and close") and len(each.statuses) > each.requests:
            yield Broken("each_request_has_one_answer", f"{each.what}: answered {each.statuses}", each.began)
        if each.what == "no host" and (each.statuses[:1] != [400] or (each.event and each.event.arrivals)):
            yield Broken("each_request_has_one_answer", f"without Host: answered {each.statuses}", each.began)
        if each.what == "upgrade and close" and each.answered and (each.closed or 1e9) > each.answered + 2.0:
            yield Broken("each_request_has_one_answer", "asked to close, and stays open", each.began)


@invariant
def nothing_is_held_beyond_its_bound(world: World) -> Iterator[Broken]:
    """What is held, and the spool's files, stay within docs/limits.md at all times and are never less than nothing."""
    for what, (at, amount, bound) in world.ledger.beyond.items():
        yield Broken("nothing_is_held_beyond_its_bound", f"{what} are {amount:g}, where {bound:g} are allowed", at)


@invariant
def the_loop_is_not_busy_with_itself(world: World) -> Iterator[Broken]:
    """Callbacks in a second are bounded by what is posted, sent and timed out in it; at rest there are few."""
    if any(act["do"] == "gate" and act["mode"]["mode"] == "drip" for act in world.plan.acts):
        return  # a callback for each byte of an answer
    did: Counter[int] = Counter()
    for request in world.ledger.requests:
        did[int(request.began)] += len(request.events)
    for exchange in world.ledger.exchanges:
        did[int(exchange.at)] += len(exchange.events)
    for each in world.lives:
        for second, callbacks in each.process.work.items():
            if callbacks > 1500 + 60 * sum(did[each] for each in range(second - 2, second + 1)):
                text = f"{callbacks} callbacks in a second in which {did[second]} events were posted or sent"
                yield Broken("the_loop_is_not_busy_with_itself", text, float(second))
    last = range(int(world.plan.heal + REST) - 41, int(world.plan.heal + REST) - 1)
    callbacks, addresses = sum(world.sidecar.process.work[each] for each in last), len(world.network.machines)
    if callbacks > len(last) * (40 + 12 * addresses) + 60 * sum(did[each] for each in last):
        text = f"{callbacks} callbacks in the last {len(last)} s, at rest"
        yield Broken("the_loop_is_not_busy_with_itself", text, float(last[0]))


@invariant
def metrics_add_up(world: World) -> Iterator[Broken]:
    """Sums of metrics add up: for all streams, received is what was delivered, invalid, refused, spooled or failed."""
    requests = world.ledger.requests
    if len(world.lives) > 1 or world.strangers or any(each.end not in ("answered", "waits") for each in requests):
        return
    received = sum(len(each.events) for each in requests if b'"type"' not in each.body[:40])
    counted = world.sidecar.counted()
    if received != counted:
        yield Broken("metrics_add_up", f"{received} events were posted, and {counted} are counted", world.plan.heal)


@invariant
def the_spool_counts_what_it_has(world: World) -> Iterator[Broken]:
    """What is said of the spool is so: the waiting events by upstream and stream, the dead letters, and their bytes."""
    said_of, path = world.sidecar.spooled(), world.folder.spool(len(world.lives)) / "spool.db"
    if said_of is None or not path.exists():
        return
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT upstream, stream, size FROM waiting").fetchall()
        dead = connection.execute("SELECT count(*), total(size) FROM dead").fetchone()
    upstreams, streams = (Counter(row[column] for row in rows) for column in (0, 1))
    told = (said_of.upstreams, said_of.streams, said_of.size, (said_of.dead, said_of.dead_size))
    if told != (upstreams, streams, sum(row[2] for row in rows), dead):
        text = f"the sidecar says {said_of}; there are {len(rows)} events and {dead[0]} dead letters"
        yield Broken("the_spool_counts_what_it_has", text, world.plan.heal)


@invariant
def explain_says_what_happens(world: World) -> Iterator[Broken]:
    """`explain` and the running sidecar agree, with each other and with routes.yaml as it is read."""
    if not world.sidecar.process.alive:
        return
    for stream in sorted({each.stream for each in world.ledger.events.values()}):
        said_of, expected = world.sidecar.explained(stream), rules.decide(world.configs[-1][1], stream)
        if said_of != expected:
            text = f"explain says of {stream}: {said_of}; by routes.yaml it is {expected}"
            yield Broken("explain_says_what_happens", text, world.plan.heal)


@invariant
def check_and_diff_say_what_happens(world: World) -> Iterator[Broken]:
    """`check` refuses what a running sidecar cannot take, and `diff` names the streams that an edit sends elsewhere."""
    streams = {each.stream for each in world.ledger.events.values()}
    good = [(config, text) for config, text in world.texts if config is not None]
    for config, text in world.texts:
        if passes_check(text) is not (config is not None):
            yield Broken("check_and_diff_say_what_happens", f"check is wrong about {text}", world.plan.heal)
    for (before, old), (after, new) in itertools.pairwise(good):
        expected = {each for each in streams if rules.decide(before, each) != rules.decide(after, each)}
        moved = {each for each in streams if _url(before, each) != _url(after, each)}
        if (told := changed_by(old, new, streams)) != expected | moved:
            text = f"diff says that {sorted(told)} change, and it is {sorted(expected | moved)}"
            yield Broken("check_and_diff_say_what_happens", text, world.plan.heal)


def _url(config: rules.Config, stream: str) -> str | None:
    way = rules.decide(config, stream)
    return config["upstreams"][way[0]]["url"] if way else None


def _fills_the_spool(world: World, request: Request) -> bool:
    """Whether its events are too large for a small spool, in which one has to wait behind another of its key."""
    quota: float = world.plan.setup.get("quota", math.inf)
    return 2 * sum(each.size for each in request.events) + 100_000 >= quota


def _all_good(world: World, request: Request) -> bool:
    """Whether every event of a request is one that EventGate takes, and that all rules allow."""
    allowed = [config for _, config in world.configs]
    return all(
        each.kind == "good" and all(rules.decide(config, each.stream) for config in allowed) for each in request.events
    )


def _well_meanwhile(world: World, event: Event, request: Request) -> str:
    """Return the name of an endpoint that was well all the while, and beside which one other at most was not."""
    ledger, begin, end = world.ledger, request.began - WELL_SECONDS, request.ended or 0.0
    route = rules.route_of(world.config, event.stream)
    if route is None or begin < 0 or not ledger.quiet("sidecar", begin, end):
        return ""
    upstream = route["to"]
    if upstream == "main" and world.plan.setup["options"].get("on_ambiguous", "resend") != "resend":
        return ""
    if {"ejections", "poison"} <= set(world.plan.setup["troubles"]):
        return ""  # one failure ejects, and poison is one: the well endpoint has one trial at a time then
    names = [name for name, gate in world.gates.items() if gate.upstream == upstream]
    out = [name for name in names if _was_ejected(world, name, request.began, end)]
    well = [name for name in names if _is_well(world, name, begin, end) and name not in out]
    return well[0] if well and len(names) - len(well) <= 1 else ""


def _was_ejected(world: World, name: str, begin: float, end: float) -> bool:
    """Whether an address of an endpoint was ejected meanwhile, for what it did earlier; others then come first."""
    where = " upstream={} endpoint={} ".format(*name.split("/"))
    now: dict[str, str] = {}
    for at, who, what in world.ledger.story:
        if who == "sidecar" and at <= end and "health changed" in what and where in what:
            if at >= begin and "ejected" in now.values():
                return True
            now[what.split(" address=")[1].split()[0]] = what.split(" after=")[1].split()[0]
    return "ejected" in now.values()


def _is_well(world: World, name: str, begin: float, end: float) -> bool:
    disturbances = (name, *(f"{name}:{what}" for what in ("door", "network", "unknown", "not ready")))
    return all(world.ledger.quiet(what, begin, end) for what in disturbances)
