"""Holds each promise against what happened; the docstring of an invariant is the promise."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation import rules
from tests.simulation.ledger import Event, Exchange, Request

if TYPE_CHECKING:
    from tests.simulation.world import World

ATTEMPT_SECONDS = 1.5
"""So long an attempt may take until EventGate has it: it may have begun before another was answered."""
IN_FORCE_SECONDS = 13.0
"""After an edit of routes.yaml, until which an event may be sent under the rules before."""


@dataclass(frozen=True)
class Broken:
    """A promise that did not hold."""

    promise: str
    """Name of the invariant."""
    what: str
    """In words, with the event or request."""
    at: float
    events: tuple[int, ...] = ()


Invariant = Callable[["World"], Iterator[Broken]]
INVARIANTS: list[Invariant] = []


def invariant(function: Invariant) -> Invariant:
    """Have a promise held."""
    INVARIANTS.append(function)
    return function


def judge(world: World) -> list[Broken]:
    """Return what did not hold, the first first."""
    broken = [each for one in INVARIANTS for each in one(world)]
    return sorted(broken, key=lambda each: (each.at, each.promise))


# --- what an answer says of each event ---


def said(request: Request) -> dict[int, str]:
    """Return `accepted`, `received`, `invalid`, `error` or `unknown` for each event, as its producer must read it."""
    numbers = [each.number for each in request.events]
    if request.end != "answered":
        return dict.fromkeys(numbers, "unknown")
    if request.status in (201, 202):
        return dict.fromkeys(numbers, "accepted" if request.status == 201 else "received")
    listed: dict[int, str] = {}
    try:
        body = json.loads(request.body)
        for kind in ("invalid", "error"):
            for each in body.get(kind, ()):
                doubt = "may have been taken" in str(each.get("context"))
                listed[each["event"]["sim"]["n"]] = "unknown" if doubt else kind
    except (ValueError, TypeError, KeyError):
        pass
    done = "received" if "hastily received" in request.reason else "accepted"
    rest = {207: done, 400: "invalid", 500: "error"}.get(request.status, "unknown")
    if request.status == 503:
        return dict.fromkeys(numbers, "unknown")
    return {number: listed.get(number, rest) for number in numbers}


def in_spool(world: World, table: str) -> set[int]:
    """Return the numbers of the events in the spool's file, and in the gateway's, at the end."""
    last = [world.folder.spool(len(world.lives)), *(each.folder.spool(each.life) for each in world.gateways[-1:])]
    found = set[int]().union(*(numbers_in(folder / "spool.db", table) for folder in last))
    return found & world.ledger.events.keys()  # a damaged event may have another number


def numbers_in(path: Path, table: str) -> set[int]:
    """Return the numbers of the events in a spool's file."""
    if not path.exists():
        return set()
    found = set()
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    with contextlib.closing(connection), contextlib.suppress(sqlite3.Error):  # damaged is as good as not there
        for (body,) in connection.execute(f"SELECT body FROM {table}"):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found.add(json.loads(body)["sim"]["n"])
    return found


@invariant
def nothing_acknowledged_is_lost(world: World) -> Iterator[Broken]:
    """An event answered 201 or 202 has arrived, waits, or is a dead letter with its verdict."""
    kept = in_spool(world, "waiting") | in_spool(world, "dead") | world.excused
    lost: list[Event] = []
    for request in world.ledger.requests:
        words = {} if request.hasty else said(request)
        for event in request.events:
            acknowledged = words.get(event.number) in ("accepted", "received")
            if acknowledged and not event.arrivals and event.number not in kept:
                lost.append(event)
    died = [event for event in lost if _may_be_dead(world, event)]
    # Dead letters go where there is no room for another event, and are counted.
    dropped = len(died) <= sum(each.dropped_dead_letters() for each in (*world.lives, *world.gateways))
    for event in [each for each in lost if not (dropped and each in died)]:
        text = f"event {event.number} was answered {event.request.status}, and is nowhere"
        yield Broken("nothing_acknowledged_is_lost", text, event.request.ended or 0.0, (event.number,))


def _may_be_dead(world: World, event: Event) -> bool:
    """Whether EventGate does not take an event, or rules that once stood in the file do not allow it."""
    return event.kind not in ("good", "dotted") or any(
        rules.decide(config, event.stream) is None for _, config in world.configs
    )


@invariant
def no_event_goes_where_it_may_not(world: World) -> Iterator[Broken]:
    """No event arrives where the rules in force when it was sent did not allow it.

    Its stream is what EventGate would read.
    """
    for event in world.ledger.events.values():
        for arrival in event.arrivals:
            allowed = [rules.allowed(config, event.stream) for config in in_force(world, arrival.exchange.at)]
            if (arrival.upstream, arrival.stream) not in allowed:
                text = f"event {event.number} of {event.stream} arrived at {arrival.gate} as {arrival.stream}"
                yield Broken("no_event_goes_where_it_may_not", text, arrival.at, (event.number,))


def in_force(world: World, at: float) -> list[rules.Config]:
    """Return the configurations that may have been in force at a time."""
    found: list[rules.Config] = []
    for begin, config in world.configs:
        until = min([at, *(each for each in world.written if each > begin)])
        if until - begin >= IN_FORCE_SECONDS:  # one that is replaced earlier may never be read
            found.clear()
        if begin <= at:
            found.append(config)
    return found


@invariant
def each_answer_is_true(world: World) -> Iterator[Broken]:
    """Each caller's answer is exactly true for each of its events, "none was accepted" included."""
    for request in world.ledger.requests:
        for number, word in said(request).items():
            event = world.ledger.events[number]
            arrived = [each.at for each in event.arrivals]
            ended = request.ended or 0.0
            kept = request.status == 207 and world.plan.setup["spool"]  # what is not listed may be in the spool
            if word == "accepted" and not kept and not request.hasty and not any(at <= ended for at in arrived):
                text = f"event {number} was answered {request.status} before any EventGate had it"
            elif word in ("invalid", "error") and arrived and _said_of_none(world, request):
                text = f"event {number} was called {word} by {request.status}, and was accepted"
            else:
                continue
            yield Broken("each_answer_is_true", text, ended, (number,))


def _said_of_none(world: World, request: Request) -> bool:
    """Whether an answer denies for sure: after the disk took a second too long it cannot know (docs/guarantees.md)."""
    return world.ledger.quiet("disk", request.began - 2.0, (request.ended or 0.0) + 2.0)


@invariant
def what_was_only_received_is_not_called_accepted(world: World) -> Iterator[Broken]:
    """Of `?hasty=true` EventGate may still find events invalid: no answer calls them accepted."""
    for request in world.ledger.requests:
        accepted = [number for number, word in said(request).items() if word == "accepted" and request.hasty]
        for number in accepted:
            if not world.ledger.events[number].arrivals and not world.plan.setup["spool"]:
                text = f"event {number}, sent hastily, was answered {request.status}, and never accepted"
                yield Broken("what_was_only_received_is_not_called_accepted", text, request.ended or 0.0, (number,))


@invariant
def what_arrives_twice_was_in_doubt(world: World) -> Iterator[Broken]:
    """Duplicates only after an ambiguous attempt."""
    for event in world.ledger.events.values():
        arrivals = sorted(event.arrivals, key=lambda each: each.exchange.at)
        for before, after in itertools.pairwise(arrivals):
            if not any(_in_doubt(world, each, after.exchange) for each in _earlier(event, after.exchange)):
                text = f"event {event.number} arrived at {before.gate} and again at {after.gate}"
                yield Broken("what_arrives_twice_was_in_doubt", text, after.at, (event.number,))


def _earlier(event: Event, exchange: Exchange) -> list[Exchange]:
    return [each for each in event.exchanges if each.at <= exchange.at and each is not exchange]


def _in_doubt(world: World, before: Exchange, after: Exchange) -> bool:
    """Whether the sidecar could not know the end of one attempt when it began another."""
    if before.came is None or before.life != after.life:
        return True
    if any(how == "two" and begin <= after.at and end >= before.at for begin, end, _, how in world.ledger.disturbed):
        return True  # the one of two sidecars that was killed may have sent it
    if any(who == "sidecar" and "doubtful" in what and at <= after.at for at, who, what in world.ledger.story):
        return True  # it may be on the gateway as well, and that is told
    if not world.ledger.quiet("disk", before.at - 2.0, after.at):
        return True  # it took an event too late, which was sent live meanwhile (docs/guarantees.md)
    return after.at < (before.read or before.came) + ATTEMPT_SECONDS


@invariant
def at_most_two_live_attempts(world: World) -> Iterator[Broken]:
    """No event is sent more than twice before its caller is answered; from the spool it may be, once it is durable."""
    for event in world.ledger.events.values():
        ended = event.request.ended
        if ended is None or event.request.end != "answered":
            continue
        sent = [each for each in event.exchanges if each.at <= ended and not each.refused]
        live = [each for each in sent if event.number not in each.replayed]
        if len(live) > 2 and event.kind != "poison":
            text = f"event {event.number} was sent {len(live)} times before its answer"
            yield Broken("at_most_two_live_attempts", text, live[2].at, (event.number,))


@invariant
def order_is_kept(world: World) -> Iterator[Broken]:
    """`order_by`: no event arrives before an older one with the same values, unless an edit sends them elsewhere."""
    keyed: dict[tuple[str, str], list[Event]] = {}
    for event in world.ledger.events.values():
        route = rules.route_of(world.config, event.stream)
        ways = {rules.decide(config, event.stream) for _, config in world.configs}
        if event.key is not None and event.arrivals and route and route.get("order_by") and len(ways) == 1:
            keyed.setdefault((event.stream, event.key), []).append(event)
    for (_, key), events in keyed.items():
        for older, newer in ((one, two) for at, one in enumerate(events) for two in events[at + 1 :]):
            came, overtook = older.arrivals[0].exchange.at, newer.arrivals[0].exchange.at
            if older.number in world.operator.revived:
                continue  # `spool retry` says that it is older than what was sent since
            if _is_older(world, older.request, newer.request) and overtook < came:
                text = f"event {newer.number} of {key} arrived before the older event {older.number}"
                yield Broken("order_is_kept", text, came, (older.number, newer.number))


def _is_older(world: World, one: Request, other: Request) -> bool:
    """Whether the sidecar cannot but know that one came first: two connections may be read in any order."""
    if one is other:
        return True
    if world.gateways and one.life != other.life:
        return False  # the older may be on the gateway, and the newer goes the shorter way
    if one.ended is not None and one.ended < other.began:
        return True
    came = one.sent is not None and one.sent + 0.05 < other.began
    return came and world.ledger.quiet("sidecar", one.began - 11.0, other.began + 0.5)


@invariant
def every_request_is_answered(world: World) -> Iterator[Broken]:
    """Every request is answered within its deadline, the process running."""
    for request in world.ledger.requests:
        if request.sent is None or request.end == "left":
            continue
        ended = world.plan.heal + 1000.0 if request.ended is None else request.ended
        if not world.ledger.quiet("sidecar", request.began - 0.1, min(ended, request.sent + 5.0)):
            continue
        seconds = ended - request.sent
        if request.end != "answered" or seconds > 4.3:
            text = f"{request} ({request.end}) after {seconds:.2f} s"
            numbers = tuple(each.number for each in request.events)
            yield Broken("every_request_is_answered", text, request.sent, numbers)
