"""The promises about what is left, and about what must go on: the second half of the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.simulation import rules
from tests.simulation.ledger import Event, Request
from tests.simulation.oracle import Broken, in_spool, invariant, said

if TYPE_CHECKING:
    from tests.simulation.world import World

WELL_SECONDS = 10.0
"""For so long an endpoint must have been well before it must take an event."""


@invariant
def it_never_ends_by_itself(world: World) -> Iterator[Broken]:
    """The process ends by a signal only."""
    for life in world.lives:
        if life.ended is not None and life.ended.startswith("crashed"):
            yield Broken("it_never_ends_by_itself", f"sidecar {life.life} {life.ended}", 0.0)
        if life.ended is not None and life.ended.startswith("does not start") and not world.plan.setup.get("edits"):
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
        if request.end != "answered" or request.status not in (201, 202):
            text = f"{request} was answered {request.status or request.end} though all was well"
            yield Broken("liveness_after_faults", text, request.began, tuple(each.number for each in request.events))


@invariant
def the_spool_empties(world: World) -> Iterator[Broken]:
    """Once faults end, the spool empties."""
    dead = in_spool(world, "dead")
    for number in sorted(in_spool(world, "waiting") | dead):
        event = world.ledger.events[number]
        allowed = [rules.decide(config, event.stream) for _, config in world.configs]
        if event.kind == "good" and None not in allowed:
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
        words = said(request)
        failed = [each for each in request.events if words[each.number] in ("error", "unknown")]
        if failed and (well := _well_meanwhile(world, failed[0], request)):
            text = f"event {failed[0].number} was answered {request.status} while {well} was well"
            yield Broken("what_one_endpoint_takes_is_not_refused", text, request.ended or 0.0, (failed[0].number,))


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
    if route is None or begin < 0 or not ledger.quiet("sidecar", begin, end) or not ledger.quiet("routes", begin, end):
        return ""
    upstream = route["to"]
    if upstream == "main" and world.plan.setup["options"].get("on_ambiguous", "resend") != "resend":
        return ""
    names = [name for name, gate in world.gates.items() if gate.upstream == upstream]
    well = [name for name in names if _is_well(world, name, begin, end)]
    return well[0] if well and len(names) - len(well) <= 1 else ""


def _is_well(world: World, name: str, begin: float, end: float) -> bool:
    quiet = world.ledger.quiet
    return all(quiet(what, begin, end) for what in (name, f"{name}:door", f"{name}:network"))
