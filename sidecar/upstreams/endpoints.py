"""The current endpoints of each upstream and their addresses.

Shared by `monitor`, which learns and checks addresses, and `delivery`, which sends to them. Each address has its own
client, which connects to the IP, so that one that hangs does not slow down the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from sidecar.eventgate.client import EventGate
from sidecar.eventgate.healthcheck import CheckResult, Target
from sidecar.eventgate.trust import Trust
from sidecar.routes.language.config import Upstream
from sidecar.telemetry.happenings import Happening, HealthChanged
from sidecar.upstreams.addresses import Known, Left, choose
from sidecar.upstreams.health import DOWN, Health, Judge, Standing, Transition, returning

FIRST_ROUND_SECONDS = 1.0
"""How long `/readyz` and the first events wait for the first look-ups and checks."""
REMEMBERED_SECONDS = 600.0
"""How long the standing of a removed address is remembered."""
MAX_REMEMBERED = 256
"""Removed addresses remembered per endpoint."""


class Budget:
    """Limits second attempts at an upstream to a share of what is in flight, with a minimum.

    Two slow datacenters must not become slower because everything is sent twice (Envoy's retry budget).
    """

    PERCENT = 20
    FLOOR = 10

    def __init__(self) -> None:
        """Start with nothing in flight."""
        self.in_flight = 0
        """Deliveries in flight."""
        self.second_attempts = 0
        """Second attempts in flight with events that may have been taken already."""

    @property
    def allows(self) -> bool:
        """Whether another second attempt may start now."""
        return self.second_attempts < max(self.FLOOR, self.in_flight * self.PERCENT // 100)


class Address:
    """One IP and port behind an endpoint."""

    def __init__(self, endpoint: Endpoint, ip: str, standing: Standing | None = None) -> None:
        """Make its client, without connecting; `standing` is what is known from earlier."""
        self.endpoint = endpoint
        self.ip = ip
        self.standing = standing or Standing()
        self.eventgate = EventGate(endpoint.url, ip, endpoint.trust, endpoint.server_name, endpoint.config.timeouts)
        self.on_trial = False
        self.retired = False
        """Removed: nothing new is sent, requests in flight end."""
        self.checked: tuple[float, CheckResult] | None = None
        """When its last health check ended, and its result."""
        self.check_now = asyncio.Event()
        """Set to request a check at once."""

    @property
    def target(self) -> Target:
        """Where its health check goes."""
        endpoint = self.endpoint
        tls = endpoint.trust.context if endpoint.trust else None
        path = endpoint.config.health_check.path
        return Target(self.ip, endpoint.port, endpoint.host, path, endpoint.server_name, tls)

    def __repr__(self) -> str:
        """Show upstream, endpoint, IP and standing, for log and tests."""
        return f"<{self.endpoint.upstream} {self.endpoint.name} {self.ip}: {self.standing}>"


class Endpoint:
    """One datacenter's URL of an upstream."""

    def __init__(self, upstream: str, name: str, url: str, config: Upstream, trust: Trust | None) -> None:
        """`name` is the datacenter's, or host and port if there is only one; `trust` is None for http."""
        self.upstream = upstream
        self.name = name
        self.url = url
        self.config = config
        self.trust = trust
        parts = urlsplit(url)
        self.hostname = parts.hostname or ""
        self.host = parts.netloc
        self.port = parts.port or (443 if trust else 80)
        self.server_name = config.tls.server_name or self.hostname
        self.known = Known(self.hostname)
        self.addresses: dict[str, Address] = {}
        """In use, by IP."""
        self._left: dict[str, Left] = {}
        """Removed, the oldest first."""
        self.look_up_now = asyncio.Event()
        """Set to request a look-up at once."""
        self.healed: Callable[[], None] = lambda: None
        """Called when an address may take events again."""

    @property
    def is_down(self) -> bool:
        """Whether it has no address, or only ones that are down."""
        return all(address.standing.health in DOWN for address in self.addresses.values())

    def set_addresses(self, ips: tuple[str, ...], now: float = 0.0) -> list[Address]:
        """Use these addresses from now on; return the new ones."""
        for address in [self.addresses.pop(ip) for ip in list(self.addresses) if ip not in ips]:
            address.retired = True
            address.check_now.set()
            self._left[address.ip] = Left(address.standing, now)
        self._forget(now)
        new = [self._address(ip) for ip in ips if ip not in self.addresses]
        self.addresses |= {address.ip: address for address in new}
        return new

    def follow(self, other: Endpoint) -> None:
        """Start with the addresses of another endpoint with the same host name: DNS may be down now."""
        self.known = other.known
        self.set_addresses(tuple(other.addresses))

    def settle(self, now: float, *, spare: bool) -> list[Address]:
        """Choose addresses by DNS and standing (`addresses.choose`), and return the new ones.

        `spare`: whether another endpoint of the upstream answers.
        """
        in_use = {ip: address.standing for ip, address in self.addresses.items()}
        return self.set_addresses(choose(self.known, in_use, self._left, now, spare=spare), now)

    def _address(self, ip: str) -> Address:
        left = self._left.pop(ip, None)
        return Address(self, ip, returning(left.standing) if left else None)

    def _forget(self, now: float) -> None:
        too_many = len(self._left) - MAX_REMEMBERED
        for number, (ip, left) in enumerate(list(self._left.items())):
            if number < too_many or now - left.at > REMEMBERED_SECONDS:
                del self._left[ip]


class Pool:
    """The endpoints of one upstream."""

    def __init__(self, name: str, config: Upstream, read_trust: Callable[[str | None], Trust] = Trust) -> None:
        """Read the CA file with `read_trust`, without connecting.

        Raises:
            SettingError: the CA file cannot be read.

        """
        self.name = name
        self.config = config
        self.judge = Judge(config.health_check, config.outlier)
        self.trust = read_trust(config.tls.ca_file) if config.url.startswith("https:") else None
        self.endpoints = [Endpoint(name, each, url, config, self.trust) for each, url in config.endpoints]
        self.budget = Budget()
        self.turn = 0
        """Counts journeys, for round robin over the addresses of an endpoint."""
        self.first: str | None = None
        """Name of the endpoint that gets events first."""
        self.looked_at = asyncio.Event()
        """Set once every endpoint has had its first look-up and checks."""
        self._unseen = {endpoint.name for endpoint in self.endpoints}

    @property
    def addresses(self) -> list[Address]:
        """All addresses, in order of preference of their endpoints."""
        return [address for endpoint in self.endpoints for address in endpoint.addresses.values()]

    @property
    def state(self) -> str:
        """Describe the health of each address, and why an endpoint has no address."""
        words = []
        for endpoint in self.endpoints:
            if not endpoint.addresses:
                words.append(f"{endpoint.name}: {endpoint.known.problem or 'no address'}")
            words += [f"{endpoint.name}: {each.standing}" for each in endpoint.addresses.values()]
        return "; ".join(words)

    def settle(self, endpoint: Endpoint, now: float) -> list[Address]:
        """Choose the addresses of an endpoint again; return the new ones."""
        others = [each for each in self.addresses if each.endpoint is not endpoint]
        return endpoint.settle(now, spare=any(each.standing.health is Health.HEALTHY for each in others))

    def may_get_events(self, endpoint: Endpoint) -> bool:
        """Whether events may be sent to an endpoint, including as a trial when no other is left."""
        if not endpoint.is_down:
            return True
        waits = any(self.judge.awaits_trial(each.standing) for each in endpoint.addresses.values())
        return waits and all(each.is_down for each in self.endpoints)

    def looked_at_endpoint(self, endpoint: Endpoint) -> None:
        """Record that `endpoint` has had its first look-up and checks."""
        self._unseen.discard(endpoint.name)
        if not self._unseen:
            self.looked_at.set()

    async def first_round(self, seconds: float = FIRST_ROUND_SECONDS) -> None:
        """Wait until every endpoint has had its first look-up and checks, at most `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.looked_at.wait()


def make_pools(
    upstreams: Mapping[str, Upstream],
    kept: Mapping[str, Pool] | None = None,
    before: Iterable[Pool] = (),
) -> dict[str, Pool]:
    """Return a pool for each upstream: from `kept`, or a new one that starts with the DNS answers of pools `before`.

    Raises:
        SettingError: a CA file cannot be read.

    """
    kept = kept or {}
    read_trust = functools.cache(Trust)  # reading the system's CAs takes a tenth of the start-up time
    known = {each.hostname: each for pool in before for each in pool.endpoints if each.addresses}
    new = {name: Pool(name, config, read_trust) for name, config in upstreams.items() if name not in kept}
    for endpoint in (each for pool in new.values() for each in pool.endpoints if each.hostname in known):
        endpoint.follow(known[endpoint.hostname])
    return {name: kept.get(name) or new[name] for name in upstreams}


def tell(emit: Callable[[Happening], None], address: Address, changes: Iterable[Transition]) -> None:
    """Report health changes of an address."""
    for change in changes:
        if change.after in (Health.HEALTHY, Health.PROBATION):
            address.endpoint.healed()
        emit(
            HealthChanged(
                address.endpoint.upstream,
                address.endpoint.name,
                address.ip,
                change.before,
                change.after,
                change.reason,
            )
        )
