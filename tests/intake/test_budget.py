"""Promises of `budget`: never more is held than there is room for."""

from __future__ import annotations

import pytest

from sidecar.intake.budget import ByteBudget


@pytest.mark.parametrize(("small", "most"), [(False, 7), (True, 10)])
def test_bytes_are_taken_up_to_the_last(*, small: bool, most: int) -> None:
    """As many as there are, without those that are kept free for small requests; what is given back is free again."""
    budget = ByteBudget(10, kept_free=3)
    assert not budget.take(most + 1, small=small)
    assert budget.take(most, small=small)
    assert not budget.take(1, small=small)
    assert budget.held == most
    budget.give(1)
    assert budget.take(1, small=small)


def test_where_all_is_held_there_is_no_room() -> None:
    """Small requests may take what large ones may not, and then there is less than none for these."""
    budget = ByteBudget(10, kept_free=3)
    assert budget.room == 7
    budget.take(9, small=True)
    assert budget.room == -2
    assert budget.full == "all of the 10 bytes for requests in flight are in use; try again in a second"
