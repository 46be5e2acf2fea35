"""Promises of `origins`: only the configured networks are trusted."""

from __future__ import annotations

import pytest

from sidecar.errors import SettingError
from sidecar.intake.origins import Origins, is_loopback


@pytest.mark.parametrize(
    ("networks", "client", "believed"),
    [
        ("", "10.0.0.1", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("192.0.2.0/24, 2001:db8::/32", "2001:db8::1", True),
        ("10.0.0.0/8", "2001:db8::1", False),
        ("0.0.0.0/0", "", False),
    ],
)
def test_clients_in_a_network_are_trusted(networks: str, client: str, *, believed: bool) -> None:
    """IPv4, IPv6, and IPv4-mapped IPv6; nobody if there are no networks."""
    assert Origins(networks).believes(client) is believed


def test_an_invalid_network_is_an_error() -> None:
    """A broken setting must not mean "trust nobody" or "trust all"."""
    with pytest.raises(SettingError, match="10\\.0\\.0\\.1/8 has host bits set; write networks such as 10"):
        Origins("10.0.0.1/8")


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1:8888", True),
        ("127.9.9.9:1", True),
        ("[::1]:8888", True),
        ("localhost:8888", True),
        ("0.0.0.0:8888", False),
        ("[::]:8888", False),
        ("10.0.0.1:8888", False),
        ("gateway:8888", False),
        ("8888", True),
    ],
)
def test_addresses_reachable_from_elsewhere_are_not_loopback(listen: str, *, loopback: bool) -> None:
    """Nor are names, except localhost; `bind` refuses invalid addresses."""
    assert is_loopback(listen) is loopback
