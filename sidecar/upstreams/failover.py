"""Orders the addresses of an upstream for the next attempt.

Healthy addresses come first, in order of preference of their datacenters. One that was out gets its place back only
after it has been healthy for the failback time, so that traffic does not flap. Unknown and suspected addresses follow.
An address on probation gets the next event, as a trial. If nothing else is left, each address gets one trial at a time,
the one that answered last first (Envoy's panic mode, sized for two datacenters).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from sidecar.upstreams.health import Health, Standing


class Candidate(Protocol):
    """An address that can be tried."""

    @property
    def endpoint(self) -> Hashable:
        """The endpoint it belongs to."""

    @property
    def standing(self) -> Standing:
        """Its health, and what that is based on."""

    @property
    def on_trial(self) -> bool:
        """Whether a trial POST to it is in flight."""


C = TypeVar("C", bound=Candidate)


class Choice(msgspec.Struct, Generic[C], frozen=True):
    """An address to try, and whether that is a trial."""

    address: C
    trial: bool = False


def order(candidates: Sequence[C], failback: float, turn: int, now: float) -> list[Choice[C]]:
    """Return the addresses to try, best first; empty if none may be tried now.

    `candidates` are in order of preference of their endpoints. `failback` is in seconds. `turn` is any growing number,
    for round robin over the healthy addresses of an endpoint.
    """
    trials: list[C] = []
    stable: list[C] = []
    fresh: list[C] = []
    unproven: list[C] = []
    for each in candidates:
        health = each.standing.health
        if health is Health.HEALTHY:
            (stable if now - each.standing.back_since >= failback else fresh).append(each)
        elif health is Health.PROBATION:
            if not each.on_trial:
                trials.append(each)
        elif health in (Health.UNKNOWN, Health.SUSPECTED):
            unproven.append(each)
    if not (trials or fresh or unproven) and len(stable) == 1:  # the usual case, for each array sent
        return [Choice(stable[0])]
    known = _by_turns(stable, turn) + _by_turns(fresh, turn) + sorted(unproven, key=_doubt)
    chosen = [Choice(each, trial=True) for each in trials[:1]]
    chosen += [Choice(each) for each in known]
    return chosen or _last_resort(candidates)


def next_elsewhere(choices: Sequence[Choice[C]], tried: Sequence[C], *, other_endpoint: bool) -> Choice[C] | None:
    """Return the best choice not tried yet, or None.

    `other_endpoint`: prefer an endpoint not tried yet, since those tried may already be processing the events.
    """
    left = [each for each in choices if each.address not in tried]
    if other_endpoint:
        endpoints = {each.endpoint for each in tried}
        left.sort(key=lambda each: each.address.endpoint in endpoints)
    return left[0] if left else None


def _by_turns(candidates: list[C], turn: int) -> list[C]:
    """Rotate the addresses within each endpoint."""
    if len(candidates) < 2:
        return candidates
    by_endpoint: dict[Hashable, list[C]] = {}
    for each in candidates:
        by_endpoint.setdefault(each.endpoint, []).append(each)
    turned: list[C] = []
    for addresses in by_endpoint.values():
        start = turn % len(addresses)
        turned += addresses[start:] + addresses[:start]
    return turned


def _doubt(candidate: Candidate) -> int:
    return 0 if candidate.standing.health is Health.UNKNOWN else 1


def _last_resort(candidates: Sequence[C]) -> list[Choice[C]]:
    """Return the addresses without a trial in flight, the one that answered last first."""
    free = [each for each in candidates if not each.on_trial]
    free.sort(key=lambda each: -each.standing.last_answer)
    return [Choice(each, trial=True) for each in free]
