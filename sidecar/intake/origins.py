"""Whose word on the labels of an origin is believed: that of networks which a setting names."""

from __future__ import annotations

import ipaddress

from sidecar.errors import SettingError


class Origins:
    """Networks from which spools are handed over."""

    def __init__(self, networks: str) -> None:
        """`networks` are written with commas between them: `10.67.0.0/16, 2620:0:860::/46`; empty: nobody is believed.

        Raises:
            SettingError: one is no network.

        """
        try:
            self._networks = [ipaddress.ip_network(each.strip()) for each in networks.split(",") if each.strip()]
        except ValueError as error:
            raise SettingError(f"--hand-over-from: {error}; write networks such as 10.67.0.0/16") from None

    def believes(self, client: str) -> bool:
        """Whether the client at this address is in one of them."""
        try:
            address = ipaddress.ip_address(client)
        except ValueError:  # not an address of the network
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in each for each in self._networks)


def is_loopback(listen: str) -> bool:
    """Whether an address to listen on, `host:port`, is reached from this machine alone."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in ("", "localhost")  # without a host it is no address, and that is said elsewhere
