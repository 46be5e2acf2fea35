"""In which order to try the addresses of an upstream now.

A datacenter that is preferred and healthy comes first. One that was out returns to its place only after it has been
healthy for the failback time, so that traffic does not go back and forth. After the healthy come those that are
unknown or suspected. An address on probation gets the next event, as a trial. If nothing else is left, each address
gets one trial at a time, the one that answered last first (Envoy's panic mode, sized for two).
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
        """Whose address it is."""

    @property
    def standing(self) -> Standing:
        """What is known of it."""

    @property
    def on_trial(self) -> bool:
        """Whether a trial POST to it is under way."""


C = TypeVar("C", bound=Candidate)


class Choice(msgspec.Struct, Generic[C], frozen=True):
    """An address to try, and whether its answer decides about it."""

    address: C
    trial: bool = False


def order(candidates: Sequence[C], failback: float, turn: int, now: float) -> list[Choice[C]]:
    """Return the addresses to try, best first; empty where none may be tried now.

    `candidates` come in order of preference of their endpoints. `failback` is in seconds. `turn` is any
    number that grows: the healthy addresses of one endpoint take turns.
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
    if not (trials or fresh or unproven) and len(stable) == 1:  # nearly always, and asked for each array
        return [Choice(stable[0])]
    known = _by_turns(stable, turn) + _by_turns(fresh, turn) + sorted(unproven, key=_doubt)
    chosen = [Choice(each, trial=True) for each in trials[:1]]
    chosen += [Choice(each) for each in known]
    return chosen or _last_resort(candidates)


def next_elsewhere(choices: Sequence[Choice[C]], tried: Sequence[C], *, other_endpoint: bool) -> Choice[C] | None:
    """Return the best choice not tried yet, or None.

    `other_endpoint`: those tried may already be processing the events, so an endpoint that was not tried is better;
    if there is none, another address will do.
    """
    left = [each for each in choices if each.address not in tried]
    if other_endpoint:
        endpoints = {each.endpoint for each in tried}
        left.sort(key=lambda each: each.address.endpoint in endpoints)
    return left[0] if left else None


def _by_turns(candidates: list[C], turn: int) -> list[C]:
    """Rotate the addresses of each endpoint, keeping the endpoints in their order."""
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
