"""`probe`: look every name up and check every address, once, now: which datacenter answers?"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sidecar.addresses import Known, learn
from sidecar.endpoints import Address, Endpoint, Pool, make_pools
from sidecar.config import Config
from sidecar.healthcheck import CheckResult, Phase, check
from sidecar.resolver import Resolver


@dataclass(frozen=True)
class Probed:
    """What was found of one endpoint: its name, and each address with its check."""

    endpoint: Endpoint
    known: Known
    dns_seconds: float
    checks: Mapping[str, CheckResult]

    @property
    def healthy(self) -> bool:
        """Whether any of its addresses answers."""
        return any(each.passed for each in self.checks.values())


async def probe(config: Config, resolver: Resolver) -> list[Probed]:
    """Probe all endpoints of all upstreams side by side; ends within the look-up's and the check's deadlines."""
    pools = make_pools(config.upstreams)
    async with asyncio.TaskGroup() as tasks:
        found = [
            tasks.create_task(_probe_endpoint(pool, endpoint, resolver))
            for pool in pools.values()
            for endpoint in pool.endpoints
        ]
    return [each.result() for each in found]


async def _probe_endpoint(pool: Pool, endpoint: Endpoint, resolver: Resolver) -> Probed:
    clock = asyncio.get_running_loop().time
    start = clock()
    known = learn(endpoint.known, await resolver.look_up(endpoint.hostname), start)
    dns_seconds = clock() - start
    timeout = pool.config.health_check.timeout
    addresses = [Address(endpoint, ip) for ip in known.addresses]
    results = await asyncio.gather(*(check(address.target, timeout) for address in addresses))
    checks = {address.ip: result for address, result in zip(addresses, results, strict=True)}
    return Probed(endpoint, known, dns_seconds, checks)


def all_reachable(found: list[Probed]) -> bool:
    """Whether every upstream has an endpoint that answers."""
    healthy = {each.endpoint.upstream for each in found if each.healthy}
    return {each.endpoint.upstream for each in found} == healthy


def as_data(found: list[Probed]) -> list[dict[str, object]]:
    """Return what was found, for JSON; times in milliseconds."""
    return [
        {
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
                }
                for ip, result in each.checks.items()
            ],
        }
        for each in found
    ]


def show(found: list[Probed], console: Console) -> None:
    """Print the table an operator asks for, and the answer in one line an upstream."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("upstream", "endpoint", "address", "dns", "tcp", "tls", "http", "certificate", "verdict"):
        right = title in ("dns", *Phase)
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "verdict", overflow="fold")
    for each in found:
        _add_rows(table, each)
    console.print(table)
    console.print()
    for upstream in dict.fromkeys(each.endpoint.upstream for each in found):
        healthy = [each.endpoint.name for each in found if each.endpoint.upstream == upstream and each.healthy]
        answer = f"{' and '.join(healthy)} answer{'s' if len(healthy) == 1 else ''}" if healthy else "nothing answers"
        console.print(f"{upstream}: {answer}", highlight=False)
    for each in found:
        if each.known.chain:
            console.print(f"{each.endpoint.name}: {each.known}", style="dim", highlight=False, soft_wrap=True)


def _add_rows(table: Table, each: Probed) -> None:
    first = (each.endpoint.upstream, each.endpoint.name)
    dns = _shown_ms(each.dns_seconds)
    if not each.checks:
        table.add_row(*first, "none", dns, "", "", "", "", f"[red]{each.known.problem}[/red]")
    for ip, result in each.checks.items():
        style = "green" if result.passed else "red"
        mesh = " (through a service mesh)" if result.mesh and result.passed else ""
        phases = [_shown_ms(result.seconds.get(phase)) for phase in Phase]
        certificate = f"to {_date(result.expires)}" if result.expires else ""
        table.add_row(*first, ip, dns, *phases, certificate, f"[{style}]{result.words}{mesh}[/{style}]")


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _shown_ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()
