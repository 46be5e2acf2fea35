"""What the search starts from, and what it ever found, keeps every promise: also where no search can run."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import FOUND, seeds
from tests.fuzz.targets import TARGETS

each_target = pytest.mark.parametrize("name", TARGETS)


@each_target
def test_what_is_known_breaks_nothing(name: str) -> None:
    """Recorded bodies and answers, peculiar ones, and whatever once broke a promise."""
    for data in seeds(name):
        TARGETS[name](data)


@each_target
def test_a_little_search_breaks_nothing(name: str) -> None:
    """The same with their words mixed up a few hundred times: a search without guidance, alike in every run."""
    dice = random.Random(name)
    known = seeds(name)
    for _ in range(500):
        TARGETS[name](mutated(dice.choice(known), dice))


def test_what_was_found_belongs_to_a_target() -> None:
    """No finding lies where nobody tries it."""
    assert {path.name for path in FOUND.iterdir()} <= set(TARGETS)
