"""The promises to those that the sidecar speaks to: EventGates and name servers."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.simulation.ledger import Event
from tests.simulation.oracle import ATTEMPT_SECONDS, Broken, invariant
from tests.simulation.oracle_rest import WELL_SECONDS
from tests.simulation.rules import PORT, host

if TYPE_CHECKING:
    from tests.simulation.world import World

ASKED_SECONDS = 20.0
MOST_ASKED = 60
"""How often one sidecar may ask for a name in that time: each 0.2 s at first, with pauses that grow to 5 s."""
MOST_ASKED_WHERE_RIGHT = 32
"""The same while DNS answers: as its answers end, after 5 s or more, and each 0.8 s or more as checks fail."""
LIVE_ATTEMPTS = 2
_WHERE = r"upstream=(\S+) endpoint=(\S+) address=(\S+)"
_OUT = re.compile(rf"health changed: {_WHERE} before=(?:healthy|suspected) after=(?:ejected|unhealthy) ")


@invariant
def what_arrives_is_what_was_posted(world: World) -> Iterator[Broken]:
    """An event is sent with the bytes that were stored, or not at all."""
    for at, words in world.ledger.garbled:
        yield Broken("what_arrives_is_what_was_posted", words, at)


@invariant
def what_is_well_is_not_taken_out(world: World) -> Iterator[Broken]:
    """No address is taken out that answers: what EventGate does not take of itself counts against none."""
    if "ejections" in world.plan.setup["troubles"]:
        return  # one failure ejects there
    for at, who, what in world.ledger.story:
        found = _OUT.match(what) if who == "sidecar" else None
        if found is None:
            continue
        upstream, endpoint, ip = found.groups()
        machine = world.network.machines[ip, PORT]
        gate = next((name for name, each in world.machines.items() if machine in each), None)  # it may be renamed
        if gate is not None and machine.door == "open" and _is_well(world, gate, at):
            yield Broken("what_is_well_is_not_taken_out", f"{upstream}/{endpoint} was well, and is out: {what}", at)


def _is_well(world: World, gate: str, at: float) -> bool:
    """Whether nothing was wrong with a gate, nor what a live POST that fails as a whole may count against it."""
    poison = "poison" in world.plan.setup["troubles"]
    begin = at - (2 * WELL_SECONDS if not poison else 0.0)
    if poison and at < world.plan.heal + 4 * WELL_SECONDS:
        return False
    if any(_was_new(gate, each, at) for each in world.ledger.events.values() if each.kind == "poison"):
        return False
    whats = ("sidecar", gate, f"{gate}:door", f"{gate}:network")
    return begin >= 0 and all(world.ledger.quiet(what, begin, at) for what in whats)


def _was_new(gate: str, event: Event, at: float) -> bool:
    """Whether a gate had got an event just before, live or for the first time from the spool: that may count."""
    first = [each.at for each in event.exchanges if each.gate == gate][: LIVE_ATTEMPTS + 1]
    return any(at - ATTEMPT_SECONDS < each <= at for each in first)


@invariant
def names_are_not_asked_too_often(world: World) -> Iterator[Broken]:
    """However wrong DNS is, a name is asked for less and less often; where it is right, about once a second at most."""
    gates = {host(*gate.split("/")): gate for gate in world.gates}
    for (who, name), asked in world.names.asked.items():
        for number, at in enumerate(asked):
            end = at + ASKED_SECONDS
            count = bisect.bisect(asked, end) - number
            right = name in gates and world.ledger.quiet(f"{gates[name]}:dns", at - 2.0, end)
            sets = 1 + sum(at - ASKED_SECONDS < each < end for each in world.written)  # the old one goes on for a while
            if count > sets * (MOST_ASKED_WHERE_RIGHT if right else MOST_ASKED):
                text = f"{who} asked for {name} {count} times in {ASKED_SECONDS:g} s"
                yield Broken("names_are_not_asked_too_often", text, at)
                break
