"""Promises of `value`: derived properties of a status."""

from __future__ import annotations

import msgspec
import pytest

from sidecar.events.results import Outcome
from sidecar.status.value import StreamNow, short
from tests.statuses import HANGS, address, endpoint, status, upstream


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


@pytest.mark.parametrize(
    ("host", "found", "looked_up"),
    [
        ("staging.wmnet", "staging.wmnet → worker.wmnet → 10.0.0.1", True),
        ("staging.wmnet", "staging.wmnet → the hosts file → 10.0.0.1", False),
        ("localhost", "localhost → 127.0.0.1", False),
        ("10.0.0.1", "10.0.0.1 → 10.0.0.1", False),
    ],
)
def test_only_names_are_looked_up_in_dns(host: str, found: str, *, looked_up: bool) -> None:
    """No addresses, not this machine, and no names of the hosts file; but where that failed, it was tried."""
    there = msgspec.structs.replace(endpoint("eqiad", address()), url=f"http://{host}/v1/events", way=found)
    assert there.looked_up is looked_up
    assert msgspec.structs.replace(there, problem="SERVFAIL").looked_up


def test_an_endpoint_has_changed_when_an_address_did() -> None:
    """The last one that did; 0 if none has yet."""
    assert endpoint("eqiad", address(since=5.0), address(since=7.0), address(since=None)).since == 7.0
    assert endpoint("eqiad", address(since=None)).since == endpoint("eqiad").since == 0.0


def test_the_title_names_the_datacenter_if_there_are_several() -> None:
    """With one, the upstream's name says it; if all are out, that is said."""
    only, out = endpoint("eqiad", address()), endpoint("eqiad", address("ejected"))
    titles = [upstream(only).title, upstream().title, upstream(out).title]
    assert titles == ["staging", "staging → eqiad", "staging → nowhere"]


def test_an_endpoint_says_why_it_gets_nothing() -> None:
    """The reasons of its addresses, once each, or why there are none."""
    out = [address("ejected", "it fails"), address("unhealthy", "it hangs"), address("ejected", "it fails"), address()]
    assert endpoint("eqiad", *out).why == "it fails, it hangs"
    assert endpoint("eqiad", problem="no such name").why == "no such name"
    assert endpoint("eqiad").why == "it has no address"


def test_only_outcomes_that_occurred_have_happened() -> None:
    """Zeros did not."""
    streams = (
        StreamNow("score", ("all",), {"delivered": 3, "invalid": 0}),
        StreamNow("link", ("all",), {"spooled": 1}),
    )
    assert status(streams=streams).happened == [Outcome.DELIVERED, Outcome.SPOOLED]
