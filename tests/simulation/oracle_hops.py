"""The promises across the hop from a pod that is deleted to the gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.simulation.hops import GRACE, TwoHops
from tests.simulation.oracle import Broken, in_spool, invariant, said

if TYPE_CHECKING:
    from tests.simulation.world import World

LONGEST_STALL = 2.0
"""So many seconds of the grace period are not needed: 8 for the producers, 5 for the hand-over."""


@invariant
def what_a_deleted_pod_held_is_on_the_gateway(world: World) -> Iterator[Broken]:
    """A pod that is deleted leaves no event where the gateway could be reached in the grace period.

    One that is killed meanwhile, gets a second signal, or gets no processor time for seconds may leave some.
    """
    for each in world.deleted if isinstance(world, TwoHops) else ():
        until, disturbed = each.since + GRACE, world.ledger.disturbed
        if any(what == "killed" and each.since <= at <= until for at, _, _, what in disturbed):
            continue
        stalls = [min(to, until) - max(at, each.since) for at, to, _, what in disturbed if what == "still"]
        if sum(stall for stall in stalls if stall > 0) > LONGEST_STALL:
            continue
        if any(what == "stops" and each.since - GRACE <= at <= until for at, _, _, what in disturbed):
            continue
        if not all(world.ledger.quiet(what, each.since - 1.0, until) for what in ("gateway", "disk")):
            continue
        if each.left or each.ended != "ended":
            text = f"pod {each.life} {each.ended} within its grace period, and left {sorted(each.left)}"
            yield Broken("what_a_deleted_pod_held_is_on_the_gateway", text, each.since, tuple(sorted(each.left)))


@invariant
def what_a_deleted_pod_leaves_is_told(world: World) -> Iterator[Broken]:
    """What could not be handed over is told exactly, by stream, unless the pod was killed.

    What a hanging disk took after its producer was answered 503 need not be known.
    """
    for each in world.deleted if isinstance(world, TwoHops) else ():
        until = min([each.since + GRACE, *_started(world, each.life + 1)])
        told = [
            int(found[1])
            for at, who, what in world.ledger.story
            if who == "sidecar" and each.since <= at <= until
            if (found := re.search(r"spool left: .*count=(\d+)", what))
        ]
        least = most = len(each.left)
        if not world.ledger.quiet("disk", each.since - 2.0, each.since + GRACE):
            events = [world.ledger.events[number] for number in each.left]
            least, most = (
                sum(said(event.request)[event.number] in ("accepted", "received") for event in events),
                len(world.ledger.events),
            )
        if each.ended == "ended" and not least <= sum(told) <= most:
            text = f"pod {each.life} left {len(each.left)} events, and said {sum(told)}"
            yield Broken("what_a_deleted_pod_leaves_is_told", text, each.since, tuple(sorted(each.left)))


def _started(world: World, life: int) -> list[float]:
    """Return when this life of the sidecar began, if it did."""
    return [at for at, who, what in world.ledger.story if (who, what) == ("world", f"sidecar {life} starts")]


@invariant
def the_gateway_ends_only_when_killed(world: World) -> Iterator[Broken]:
    """It never crashes, and holds nothing at rest."""
    for life in world.gateways:
        if life.ended not in (None, "killed"):
            yield Broken("the_gateway_ends_only_when_killed", f"gateway {life.life} {life.ended}", 0.0)
    if world.gateways and not in_spool(world, "waiting"):
        for what, value in sorted(world.gateways[-1].held().items()):
            if value:
                text = f"at rest {what} of the gateway is {value}"
                yield Broken("the_gateway_ends_only_when_killed", text, world.plan.heal)
