"""Promises of `origins`: only the networks that a setting names are believed."""

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
def test_who_is_in_a_network_is_believed(networks: str, client: str, *, believed: bool) -> None:
    """IPv4, IPv6, and IPv4 as IPv6 has it; nobody where no network is named."""
    assert Origins(networks).believes(client) is believed


def test_what_is_no_network_is_said() -> None:
    """A setting that cannot be read is no setting that believes nobody, or all."""
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
def test_what_other_machines_reach_is_not_loopback(listen: str, *, loopback: bool) -> None:
    """A name other than localhost may be anything; what is no address is refused by `bind`."""
    assert is_loopback(listen) is loopback
