"""Promises of `value`: derived properties of a status."""

from __future__ import annotations

import pytest

from sidecar.status.value import short
from tests.statuses import HANGS, address, endpoint, upstream


@pytest.mark.parametrize(
    ("health", "usable"),
    [
        ("unknown", True),
        ("healthy", True),
        ("suspected", True),
        ("unhealthy", False),
        ("ejected", False),
        ("probation", False),
    ],
)
def test_an_endpoint_is_usable_if_an_address_is_not_out(health: str, *, usable: bool) -> None:
    """One is enough."""
    out = address("unhealthy", HANGS)
    assert endpoint("eqiad", out, address(health)).usable is usable


def test_an_upstream_is_out_if_no_endpoint_is_usable() -> None:
    """Whichever gets the next trial; not before each was looked up."""
    out, gone = endpoint("eqiad", address("unhealthy", HANGS)), endpoint("codfw", problem="no such name")
    assert (upstream(out, gone).out, upstream(out, gone).goes_to) == (True, None)
    assert upstream(out, endpoint("codfw", problem="not looked up yet")).out is False
    assert upstream(out, endpoint("codfw", address("ejected", awaits_trial=True)), first="codfw").goes_to == "codfw"


def test_a_long_reason_is_cut() -> None:
    """It comes from outside."""
    assert (short("x" * 160), short("x" * 161)) == ("x" * 160, "x" * 159 + "…")
