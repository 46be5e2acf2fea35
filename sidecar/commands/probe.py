"""`eventgate-sidecar probe`: looks up every name and checks every address once."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.commands.terminal import Complaints, json_option, print_json, routes_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sidecar.eventgate.healthcheck import CheckResult
    from sidecar.routes.config import Config
    from sidecar.upstreams.addresses import Known
    from sidecar.upstreams.endpoints import Endpoint, Pool
    from sidecar.upstreams.resolver import Resolver


@dataclass(frozen=True)
class Probed:
    """The result for one endpoint: its DNS answer, and a check of each address."""

    endpoint: Endpoint
    known: Known
    dns_seconds: float
    checks: Mapping[str, CheckResult]

    @property
    def healthy(self) -> bool:
        """Whether any of its addresses answers."""
        return any(each.passed for each in self.checks.values())


@click.command()
@routes_option
@json_option
def probe(routes: Path, as_json: bool) -> None:
    """Look up and check every endpoint of a routes.yaml once, now: which datacenter answers?

    Exit status: 0 if every upstream has an endpoint that answers; 1 if one has none; 2 if the file cannot
    be used.
    """
    import asyncio

    from rich.console import Console

    from sidecar.routes.file import read_config
    from sidecar.upstreams.resolver import Resolver

    with Complaints():
        found = asyncio.run(probe_all(read_config(routes), Resolver()))
    if as_json:
        print_json({"ok": all_reachable(found), "endpoints": as_data(found)})
    else:
        show(found, Console())
    if not all_reachable(found):
        sys.exit(1)


async def probe_all(config: Config, resolver: Resolver) -> list[Probed]:
    """Probe all endpoints in parallel, within the deadlines of a look-up and a check."""
    import asyncio

    from sidecar.upstreams.endpoints import make_pools

    pools = make_pools(config.upstreams)
    async with asyncio.TaskGroup() as tasks:
        found = [
            tasks.create_task(_probe_endpoint(pool, endpoint, resolver))
            for pool in pools.values()
            for endpoint in pool.endpoints
        ]
    return [each.result() for each in found]


async def _probe_endpoint(pool: Pool, endpoint: Endpoint, resolver: Resolver) -> Probed:
    import asyncio

    from sidecar.eventgate.healthcheck import check
    from sidecar.upstreams.addresses import learn
    from sidecar.upstreams.endpoints import Address

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
    """Return the results for JSON; times in milliseconds."""
    from sidecar.eventgate.healthcheck import Phase

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
    """Print for each upstream which endpoints answer, and a table of the checks."""
    from rich.padding import Padding
    from rich.text import Text

    for upstream in dict.fromkeys(each.endpoint.upstream for each in found):
        endpoints = [each for each in found if each.endpoint.upstream == upstream]
        console.print(Text(_answer(upstream, endpoints), style="bold"), soft_wrap=True)
        console.print(Padding(_table(endpoints), (0, 0, 0, 2)))
        for each in endpoints:
            if each.known.chain:
                console.print(Text(f"  {each.endpoint.name}: {each.known}", style="dim"), soft_wrap=True)
        console.print()


def _answer(upstream: str, endpoints: list[Probed]) -> str:
    healthy = [each.endpoint.name for each in endpoints if each.healthy]
    if not healthy:
        return f"{upstream}: nothing answers"
    return f"{upstream}: {' and '.join(healthy)} answer{'s' if len(healthy) == 1 else ''}"


def _table(endpoints: list[Probed]) -> Table:
    """Return a row for each address; text from outside is never interpreted as markup."""
    from rich.table import Table
    from rich.text import Text

    from sidecar.eventgate.healthcheck import Phase

    table = Table(box=None, pad_edge=False, header_style="bold")
    if len(endpoints) > 1:
        table.add_column("endpoint", no_wrap=True)
    table.add_column("address", overflow="fold")
    table.add_column("verdict", overflow="fold", min_width=16)
    for title in ("dns", *Phase):
        table.add_column(f"{title}\nms", justify="right", no_wrap=True)
    table.add_column("cert.\nuntil", no_wrap=True)
    for each in endpoints:
        name = [Text(each.endpoint.name)] if len(endpoints) > 1 else []
        dns = _shown_ms(each.dns_seconds)
        if not each.checks:
            table.add_row(*name, "none", Text(each.known.problem, style="red"), dns)
        for ip, result in each.checks.items():
            mesh = " (through a service mesh)" if result.mesh and result.passed else ""
            verdict = Text(f"{result.words}{mesh}", style="green" if result.passed else "red")
            phases = [_shown_ms(result.seconds.get(phase)) for phase in Phase]
            table.add_row(*name, Text(ip), verdict, dns, *phases, _date(result.expires))
    return table


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _shown_ms(seconds: float | None) -> str:
    if seconds is None:
        return ""
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()
