"""Looks up every name and checks every address once, for the command `probe` and for a running sidecar.

It does not change the health of addresses or the known names. A running sidecar also checks addresses in use that DNS
does not return now.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.eventgate.healthcheck import CheckResult, Phase
from sidecar.upstreams.addresses import MAX_ADDRESSES, Known, learn
from sidecar.upstreams.endpoints import Address, Endpoint, Pool
from sidecar.upstreams.monitor import Check, LookUp

SECONDS = 10.0
"""Deadline of a probe; unfinished checks are reported as such."""
APART_SECONDS = 5.0
"""Minimum interval of probes by a running sidecar; requests in between get the last result."""
AT_ONCE = 16
"""Endpoints that are probed in parallel."""
NOT_DONE = f"not probed within {SECONDS:g} s"

Json = dict[str, Any]


@dataclass(frozen=True)
class Probed:
    """The result for one endpoint: its DNS answer, and a check of each address."""

    endpoint: Endpoint
    known: Known
    dns_seconds: float
    checks: Mapping[str, CheckResult]
    states: Mapping[str, str] = field(default_factory=dict)
    """States of the addresses that the running sidecar uses."""

    @property
    def healthy(self) -> bool:
        """Whether any of its addresses answers."""
        return any(each.passed for each in self.checks.values())


async def probe_all(pools: Iterable[Pool], look_up: LookUp, check: Check) -> list[Probed]:
    """Probe all endpoints in parallel, within the deadlines of a look-up, a check, and `SECONDS`."""
    room = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        found = [
            (endpoint, tasks.create_task(_probe_endpoint(pool, endpoint, look_up, check, room)))
            for pool in pools
            for endpoint in pool.endpoints
        ]
        await asyncio.wait([task for _, task in found], timeout=SECONDS)
        for _, task in found:
            task.cancel()
    not_done = ((Probed(endpoint, Known(endpoint.hostname, problem=NOT_DONE), 0.0, {})) for endpoint, _ in found)
    return [other if task.cancelled() else task.result() for (_, task), other in zip(found, not_done, strict=True)]


async def _probe_endpoint(
    pool: Pool, endpoint: Endpoint, look_up: LookUp, check: Check, room: asyncio.Semaphore
) -> Probed:
    async with room:
        clock = asyncio.get_running_loop().time
        start = clock()
        known = learn(endpoint.known, await look_up(endpoint.hostname), start)
        dns_seconds = clock() - start
        used = endpoint.addresses
        ips = list(dict.fromkeys((*known.addresses[:MAX_ADDRESSES], *used)))
        targets = [(used.get(ip) or Address(endpoint, ip)).target for ip in ips]
        results = await asyncio.gather(*(check(target, pool.config.health_check.timeout) for target in targets))
        states = {ip: str(address.standing) for ip, address in used.items()}
        return Probed(endpoint, known, dns_seconds, dict(zip(ips, results, strict=True)), states)


class Prober:
    """Probes for clients of the running sidecar, one probe at a time; caches the result for some seconds."""

    def __init__(self, pools: Callable[[], Mapping[str, Pool]], look_up: LookUp, check: Check) -> None:
        """`pools` returns the current pools; `look_up` and `check` do the I/O."""
        self._pools = pools
        self._look_up = look_up
        self._check = check
        self._one = asyncio.Lock()
        self._last: tuple[float, Json] | None = None

    async def result(self) -> Json:
        """Return the result of a probe, at most `APART_SECONDS` old."""
        clock = asyncio.get_running_loop().time
        async with self._one:
            if self._last is None or clock() - self._last[0] > APART_SECONDS:
                found = await probe_all(list(self._pools().values()), self._look_up, self._check)
                self._last = clock(), as_data(found)
            at, data = self._last
        return {**data, "seconds_ago": round(clock() - at, 1)}


def all_reachable(found: Sequence[Probed]) -> bool:
    """Whether every upstream has an endpoint that answers."""
    healthy = {each.endpoint.upstream for each in found if each.healthy}
    return {each.endpoint.upstream for each in found} == healthy


def as_data(found: Sequence[Probed]) -> Json:
    """Return the results for JSON, with times in milliseconds."""
    return {"ok": all_reachable(found), "endpoints": [_endpoint_as_data(each) for each in found]}


def _endpoint_as_data(each: Probed) -> Json:
    return {
        "upstream": each.endpoint.upstream,
        "endpoint": each.endpoint.name,
        "url": each.endpoint.url,
        "name": each.known.name,
        "chain": list(each.known.chain),
        "dns_ms": _ms(each.dns_seconds),
        "problem": each.known.problem or None,
        "healthy": each.healthy,
        "addresses": [
            {
                "address": ip,
                "healthy": result.passed,
                "verdict": result.words,
                **{f"{phase}_ms": _ms(result.seconds.get(phase)) for phase in Phase},
                "certificate_expires": _date(result.expires),
                "server": result.server or None,
                "service_mesh": result.mesh,
                "in_use": each.states.get(ip),
            }
            for ip, result in each.checks.items()
        ],
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()
