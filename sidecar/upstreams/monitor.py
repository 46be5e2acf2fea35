"""Looks up names and checks addresses on their intervals, and feeds `health`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from sidecar.eventgate.healthcheck import CheckResult, Target
from sidecar.telemetry.contained import keep_running, unexpected
from sidecar.telemetry.happenings import AddressesChanged, CaFileChanged, Checked
from sidecar.telemetry.telemetry import Telemetry
from sidecar.upstreams.addresses import DnsAnswer, learn
from sidecar.upstreams.endpoints import Address, Endpoint, Pool, tell

LookUp = Callable[[str], Awaitable[DnsAnswer]]
ASKED_SECONDS = 1.0
"""Minimum between two checks of an address on request, ±20 %: each failed POST requests one.
Likewise between two look-ups of a name, which failed checks request."""

Check = Callable[[Target, float], Awaitable[CheckResult]]


class Monitor:
    """Runs beside the request path, and shares only the pools with it."""

    def __init__(
        self,
        pools: Iterable[Pool],
        look_up: LookUp,
        check: Check,
        telemetry: Telemetry,
        jitter: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look_up` and `check` do the I/O; `jitter` returns numbers from 0 to 1."""
        self._pools = list(pools)
        self._watches: dict[Pool, list[asyncio.Task[None]]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._look_up = look_up
        self._check = check
        self._telemetry = telemetry
        self._jitter = jitter
        self._clock = clock

    async def run(self) -> None:
        """Look up and check until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for pool in self._pools:
                self.watch(pool)
            await asyncio.Event().wait()

    async def ready(self) -> None:
        """Return when the first round is done or has timed out."""
        await asyncio.gather(*(pool.first_round() for pool in self._pools))

    def watch(self, pool: Pool) -> None:
        """Start watching a pool; `run` must be running."""
        tasks = self._running
        self._watches[pool] = [
            tasks.create_task(self._kept(self._watch_endpoint, pool, endpoint)) for endpoint in pool.endpoints
        ]
        self._watch_new(pool, pool.addresses)

    def forget(self, pool: Pool, seconds: float) -> None:
        """Watch a pool for another `seconds`, for requests in flight, then close its connections."""
        self._running.create_task(self._kept(self._forget, pool, seconds))

    def close(self) -> None:
        """Close the connections of all watched pools."""
        for pool in self._watches:
            for address in pool.addresses:
                address.eventgate.close()

    async def _forget(self, pool: Pool, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for task in self._watches.pop(pool, ()):
            task.cancel()
        for endpoint in pool.endpoints:
            endpoint.set_addresses(())  # makes the watch of each address close its connections

    def _kept(self, watch: Callable[..., Awaitable[None]], *of: object) -> Coroutine[Any, Any, None]:
        """Restart a watch that raises: a bug with one endpoint or address must not end the others."""
        return keep_running("monitor", functools.partial(watch, *of), self._telemetry.emit)

    @property
    def _running(self) -> asyncio.TaskGroup:
        if self._tasks is None:
            raise RuntimeError("pools are watched while the monitor runs")
        return self._tasks

    async def _watch_endpoint(self, pool: Pool, endpoint: Endpoint) -> None:
        """Look up and check at once, then keep watching."""
        new: list[Address] = []
        try:
            new = await self._learn(pool, endpoint)
            async with asyncio.TaskGroup() as first:
                for address in new:
                    first.create_task(self._check_once(pool, address))
        except Exception as error:  # noqa: BLE001  the first events must not wait for this endpoint
            self._telemetry.emit(unexpected("monitor", error))
        pool.looked_at_endpoint(endpoint)
        for address in new:
            self._running.create_task(self._kept(self._watch_address, pool, address))
        await self._watch_name(pool, endpoint)

    async def _watch_name(self, pool: Pool, endpoint: Endpoint) -> None:
        not_before = self._clock()
        while True:
            spread = 0.9 + 0.2 * self._jitter()
            if await _wait(endpoint.look_up_now, (endpoint.known.ask_again - self._clock()) * spread):
                not_before = await self._not_before(not_before, endpoint.look_up_now)
            self._watch_new(pool, await self._learn(pool, endpoint))

    async def _watch_address(self, pool: Pool, address: Address, *, at_once: bool = False) -> None:
        not_before = self._clock()
        while not address.retired:
            if not at_once:
                asked = await _wait(address.check_now, pool.judge.interval(address.standing, self._jitter()))
                await self._renew(pool)
                if not asked and not pool.judge.wants_check(address.standing, self._clock()):
                    continue
                if asked:
                    not_before = await self._not_before(not_before, address.check_now)
            at_once = False
            if not address.retired:
                await self._check_once(pool, address)
        address.eventgate.close()

    async def _not_before(self, at: float, requested: asyncio.Event) -> float:
        """Wait until `at`, and answer all requests until then at once; return when the next ones may be answered."""
        await asyncio.sleep(at - self._clock())
        requested.clear()
        return self._clock() + ASKED_SECONDS * (0.8 + 0.4 * self._jitter())

    async def _learn(self, pool: Pool, endpoint: Endpoint) -> list[Address]:
        """Look up the name; return the new addresses."""
        before = endpoint.known
        after = endpoint.known = learn(before, await self._look_up(endpoint.hostname), self._clock())
        if str(before) != str(after):
            self._telemetry.emit(
                AddressesChanged(endpoint.upstream, endpoint.name, str(before), str(after), after.problem)
            )
        return pool.settle(endpoint, self._clock())

    def _watch_new(self, pool: Pool, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self._running.create_task(self._kept(functools.partial(self._watch_address, at_once=True), pool, address))

    async def _renew(self, pool: Pool) -> None:
        """Reload the CA file if it changed."""
        trust = pool.trust
        if trust is not None and trust.ca_file is not None and await trust.renew():
            self._telemetry.emit(CaFileChanged(trust.ca_file, trust.problem))

    async def _check_once(self, pool: Pool, address: Address) -> None:
        result = await self._check(address.target, pool.config.health_check.timeout)
        self._telemetry.emit(
            Checked(address.endpoint.upstream, address.endpoint.name, result.passed, sum(result.seconds.values()))
        )
        now = self._clock()
        address.checked = (now, result)
        changes = pool.judge.time_passed(address.standing, now)
        if result.passed:
            changes += pool.judge.check_passed(address.standing, now)
        else:
            changes += pool.judge.check_failed(address.standing, result.words, now)
            address.endpoint.look_up_now.set()  # a CNAME that moved is the most likely cause
        tell(self._telemetry.emit, address, changes)
        if not address.retired:
            self._watch_new(pool, pool.settle(address.endpoint, now))


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event` for at most `seconds`; return whether it was set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
