"""Promises of `budget`: no more is held than allowed."""

from __future__ import annotations

import pytest

from sidecar.intake.budget import ByteBudget, GatewayBudget


@pytest.mark.parametrize(("small", "most"), [(False, 7), (True, 10)])
def test_bytes_are_taken_up_to_the_last(*, small: bool, most: int) -> None:
    """All but the reserve for small requests; bytes given back are free again."""
    budget = ByteBudget(10, kept_free=3)
    assert not budget.take(most + 1, small=small)
    assert budget.take(most, small=small)
    assert not budget.take(1, small=small)
    assert budget.held == most
    budget.give(1)
    assert budget.take(1, small=small)


def test_small_requests_may_use_the_reserve() -> None:
    """Then `room` is negative for others."""
    budget = ByteBudget(10, kept_free=3)
    assert budget.room == 7
    budget.take(9, small=True)
    assert budget.room == -2
    assert budget.full == "all of the 10 bytes for requests in flight are in use; try again in a second"


def test_a_pod_has_16_mib_and_a_gateway_64() -> None:
    """A quarter of each is for small requests; one client of a gateway has 16 MiB and 64 connections."""
    mebibyte = 1024 * 1024
    pod, gateway = ByteBudget(), GatewayBudget()
    client = gateway.of("10.0.0.1")
    assert [each.size for each in (pod, gateway, client)] == [16 * mebibyte, 64 * mebibyte, 16 * mebibyte]
    assert [each.room for each in (pod, gateway, client)] == [12 * mebibyte, 48 * mebibyte, 12 * mebibyte]
    assert client.most_connections == 64
    assert (client.connections, client.held) == (0, 0)


def test_no_client_of_a_gateway_takes_what_is_for_all() -> None:
    """Each address has a share of the bytes, all together have the whole, and what is given back is there again."""
    whole = GatewayBudget(100, share=40)
    one, other, third = (whole.of(f"10.0.0.{each}") for each in (1, 2, 3))
    assert whole.of("10.0.0.1") is one
    assert (one.take(31, small=False), one.take(30, small=False), one.take(10, small=True)) == (False, True, True)
    assert not one.take(1, small=True)
    assert other.take(40, small=True)
    assert (third.room, third.take(21, small=True), third.held) == (-5, False, 0)
    one.give(40)
    assert (one.held, whole.held) == (0, 40)


def test_a_share_is_forgotten_with_its_last_connection() -> None:
    """A cluster has many addresses, which come and go."""
    whole = GatewayBudget()
    share = whole.of("10.0.0.1")
    assert len(whole._shares) == 1
    del share
    assert len(whole._shares) == 0
