"""Seeds and all earlier findings keep every property, also where no search can run."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import FOUND, seeds
from tests.fuzz.targets import TARGETS

each_target = pytest.mark.parametrize("name", TARGETS)


@each_target
def test_known_inputs_break_no_property(name: str) -> None:
    """Recorded bodies and answers, unusual ones, and those that once broke a property."""
    for data in seeds(name):
        TARGETS[name](data)


@each_target
def test_a_short_search_breaks_no_property(name: str) -> None:
    """The same inputs with tokens changed a few hundred times: an unguided search, the same in every run."""
    dice = random.Random(name)
    known = seeds(name)
    for _ in range(500):
        TARGETS[name](mutated(dice.choice(known), dice))


def test_each_finding_belongs_to_a_target() -> None:
    """Otherwise no test would try it."""
    assert {path.name for path in FOUND.iterdir()} <= set(TARGETS)
