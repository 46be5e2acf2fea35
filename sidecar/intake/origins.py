"""The networks whose hand-overs, and the labels in them, a gateway trusts."""

from __future__ import annotations

import ipaddress

from sidecar.errors import SettingError


class Origins:
    """Networks from which spools are handed over."""

    def __init__(self, networks: str) -> None:
        """`networks` are separated by commas: `10.67.0.0/16, 2620:0:860::/46`; empty: none is trusted.

        Raises:
            SettingError: one is not a network.

        """
        try:
            self._networks = [ipaddress.ip_network(each.strip()) for each in networks.split(",") if each.strip()]
        except ValueError as error:
            raise SettingError(f"--hand-over-from: {error}; write networks such as 10.67.0.0/16") from None

    def believes(self, client: str) -> bool:
        """Whether the client's address is in one of them."""
        address = address_of_client(client)
        return address is not None and any(address in each for each in self._networks)


def address_of_client(client: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a client's address, an IPv4-mapped one as IPv4; None if it has none, such as on a Unix socket."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_loopback(listen: str) -> bool:
    """Whether an address to listen on, `host:port`, can be reached from this machine only."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in ("", "localhost")  # an address without a host is refused elsewhere
