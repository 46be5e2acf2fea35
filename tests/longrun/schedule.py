"""The schedule of a run: a function of a seed and a length only.

A run has two acts. In the first the sidecar is killed again and again. In the second one sidecar runs throughout, long
enough to show whether anything grows. Load, faults and edits continue through both, each from its own generator, so
that one more fault does not change the load.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.netns import faults
from tests.netns.scenarios import SCENARIOS, Scenario

KILLING_SHARE = 0.35
"""Share of the run that is the first act."""
RATES = (0, 10, 50, 100, 200, 400, 800, 2000)
"""Events per second. Each rate comes once per round, so that no part of the run has only one kind of load."""
PHASE_SECONDS = (2.5, 6.0)
"""How long a rate is kept."""
HOLD_SECONDS = (4.0, 8.0)
"""How long a fault lasts."""
CALM_SECONDS = (10.0, 16.0)
"""Between the end of a fault and the next."""
LIFE_SECONDS = (8.0, 35.0)
"""Seconds from one kill to the next in the first act."""
AWAY_SECONDS = (0.5, 2.5)
"""Seconds from the end of a sidecar to the start of the next, as a kubelet takes."""
START_SECONDS = 15.0
"""How long a fault that starts with a killed sidecar is the only one."""
EDIT_SECONDS = (15.0, 40.0)
"""Seconds from one edit of routes.yaml to the next."""
KILLS = ("SIGKILL", "SIGKILL", "SIGTERM")
EDITS = ("good", "good", "broken")
SETTING_SECONDS = 6.0
"""A fault that changes the datacenter's DNS name begins this long after the change: a DNS answer is valid for 5 s."""
BY_NAME = {each.name: each for each in SCENARIOS}
ANYTIME = tuple(each.name for each in SCENARIOS if not each.at_start)
Card = TypeVar("Card")
AT_START = tuple(each.name for each in SCENARIOS if each.at_start)


@dataclass(frozen=True)
class Phase:
    """A rate in events per second, from `at` on."""

    at: float
    rate: int


@dataclass(frozen=True)
class Fault:
    """A fault of the failover suite."""

    at: float
    name: str
    hold: float

    @property
    def scenario(self) -> Scenario:
        """Its scenario in the failover suite."""
        return BY_NAME[self.name]

    @property
    def until(self) -> float:
        """When it has ended."""
        return self.begins + self.hold

    @property
    def begins(self) -> float:
        """When it has effects."""
        return self.at + (0.0 if self.scenario.setting is faults.nothing else SETTING_SECONDS)


@dataclass(frozen=True)
class Kill:
    """A signal to the sidecar; the next one is started `away` seconds after its end."""

    at: float
    signal: str
    away: float
    fault: str = ""
    """A fault that is present when the next one starts, or nothing."""


@dataclass(frozen=True)
class Edit:
    """Another routes.yaml, good or broken."""

    at: float
    kind: str
    number: int


@dataclass(frozen=True)
class Schedule:
    """The whole schedule; seconds from the first event on."""

    seed: int
    seconds: float
    phases: Sequence[Phase]
    faults: Sequence[Fault]
    kills: Sequence[Kill]
    edits: Sequence[Edit]

    @property
    def second_act(self) -> float:
        """When the second act begins: from then on no sidecar is killed."""
        return self.seconds * KILLING_SHARE

    def lines(self) -> Iterator[str]:
        """Describe the schedule in order."""
        told = [(each.at, f"{each.rate} events a second") for each in self.phases]
        told += [(each.at, f"fault {each.name} until {each.until:.1f} s") for each in self.faults]
        told += [(each.at, _killing(each)) for each in self.kills]
        told += [(each.at, f"{each.kind} routes.yaml, number {each.number}") for each in self.edits]
        yield f"seed {self.seed}, {self.seconds:g} s; from {self.second_act:.1f} s on no sidecar is killed"
        yield from (f"{at:8.1f} s  {words}" for at, words in sorted(told))


def made(seed: int, seconds: float) -> Schedule:
    """Return the schedule of this seed."""
    found = tuple(_faults(random.Random(f"{seed} faults"), seconds))
    return Schedule(
        seed,
        seconds,
        tuple(_phases(random.Random(f"{seed} load"), seconds)),
        found,
        tuple(_kills(random.Random(f"{seed} kills"), seconds * KILLING_SHARE, found)),
        tuple(_edits(random.Random(f"{seed} edits"), seconds)),
    )


def _phases(chance: random.Random, seconds: float) -> Iterator[Phase]:
    at = 0.0
    for rate in _dealt(chance, RATES):
        if at >= seconds:
            return
        yield Phase(at, rate)
        at += chance.uniform(*PHASE_SECONDS)


def _faults(chance: random.Random, seconds: float) -> Iterator[Fault]:
    at = chance.uniform(*CALM_SECONDS)
    for name in _dealt(chance, ANYTIME):
        fault = Fault(at, name, chance.uniform(*HOLD_SECONDS))
        if fault.until > seconds - CALM_SECONDS[0]:
            return
        yield fault
        at = fault.until + chance.uniform(*CALM_SECONDS)


def _kills(chance: random.Random, until: float, faults: Sequence[Fault]) -> Iterator[Kill]:
    at = chance.uniform(*LIFE_SECONDS)
    for signal, fault in zip(_dealt(chance, KILLS), _dealt(chance, ("", *AT_START)), strict=False):
        if at > until:
            return
        alone = not any(each.at < at + START_SECONDS and at < each.until for each in faults)
        yield Kill(at, signal, chance.uniform(*AWAY_SECONDS), fault if alone else "")
        at += chance.uniform(*LIFE_SECONDS)


def _edits(chance: random.Random, seconds: float) -> Iterator[Edit]:
    at = chance.uniform(*EDIT_SECONDS)
    for number, kind in enumerate(_dealt(chance, EDITS), 1):
        if at > seconds:
            return
        yield Edit(at, kind, number)
        at += chance.uniform(*EDIT_SECONDS)


def _dealt(chance: random.Random, cards: Sequence[Card]) -> Iterator[Card]:
    """Yield all cards in random order, again and again."""
    for _ in itertools.count():
        yield from chance.sample(cards, len(cards))


def _killing(kill: Kill) -> str:
    beside = f", beside the fault {kill.fault}" if kill.fault else ""
    return f"{kill.signal}; the next sidecar starts {kill.away:.1f} s after the end of this one{beside}"
