"""The promises about copies, which a route's `mirror` sends to another upstream."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.simulation import rules
from tests.simulation.ledger import COPIES, Event, Exchange
from tests.simulation.oracle import Broken, in_force, invariant, said

if TYPE_CHECKING:
    from tests.simulation.world import World


@invariant
def a_copy_goes_only_where_it_may(world: World) -> Iterator[Broken]:
    """A copy reaches only a stream that a mirror names and that its upstream accepts."""
    for event, exchange in _copies(world):
        stream = exchange.streams[exchange.events.index(event)]
        allowed = [rules.copied(config, event.stream) for config in in_force(world, exchange.at)]
        if (COPIES, stream) not in allowed:
            text = f"a copy of event {event.number} of {event.stream} arrived at {exchange.gate} as {stream}"
            yield Broken("a_copy_goes_only_where_it_may", text, exchange.at, (event.number,))


@invariant
def a_copy_changes_no_answer(world: World) -> Iterator[Broken]:
    """Only what its producer is told was accepted has a copy; no answer names the mirror, and no spool holds a copy."""
    for event, exchange in _copies(world):
        if said(event.request)[event.number] in ("invalid", "error"):
            text = f"event {event.number} was answered {event.request.status}, and a copy was sent"
            yield Broken("a_copy_changes_no_answer", text, exchange.at, (event.number,))
    for request in world.ledger.requests:
        if f"upstream={COPIES}" in request.said:
            text = f"{request} was answered {request.said}"
            yield Broken("a_copy_changes_no_answer", text, request.ended or 0.0)
    if _in_spool(world):
        yield Broken("a_copy_changes_no_answer", "a copy is in the spool", world.plan.heal)


@invariant
def a_copy_is_sent_once(world: World) -> Iterator[Broken]:
    """A copy has two attempts at most, and goes with no other copy of its event."""
    for event in world.ledger.events.values():
        sent = [each for each in event.copies if not each.refused]
        if len(sent) > 2 and event.kind != "poison":
            text = f"a copy of event {event.number} was sent {len(sent)} times"
            yield Broken("a_copy_is_sent_once", text, sent[2].at, (event.number,))


@invariant
def copies_are_sent_after_faults(world: World) -> Iterator[Broken]:
    """Once faults end, what is accepted is copied within some seconds."""
    if "poison" in world.plan.setup["troubles"]:
        return  # one that cuts connections may eject the only endpoint of copies, and they are not sent again
    for request in world.ledger.requests:
        numbers = [each.number for each in request.events if _must_be_copied(world, each)]
        last = request.began >= world.plan.heal + 5.0 and request.status == 201 and world.sidecar.process.alive
        for number in numbers if last and world.ledger.quiet("sidecar", request.began, request.began + 5.0) else ():
            if not world.ledger.events[number].copies:
                text = f"event {number} was accepted, and no copy of it was sent"
                yield Broken("copies_are_sent_after_faults", text, request.began, (number,))


def _must_be_copied(world: World, event: Event) -> bool:
    configs = [config for _, config in world.configs]
    routes = [rules.route_of(config, event.stream) or {} for config in configs]
    whole = all(route.get("mirror", {}).get("percent", 100) == 100 for route in routes)
    return whole and all(rules.copied(config, event.stream) is not None for config in configs)


def _copies(world: World) -> Iterator[tuple[Event, Exchange]]:
    for event in world.ledger.events.values():
        for exchange in event.copies:
            yield event, exchange


def _in_spool(world: World) -> bool:
    path = world.folder.spool(len(world.lives)) / "spool.db"
    if not path.exists():
        return False
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    with contextlib.closing(connection), contextlib.suppress(sqlite3.Error):  # damaged is as good as not there
        return bool(connection.execute("SELECT count(*) FROM waiting WHERE upstream = ?", (COPIES,)).fetchone()[0])
    return False
