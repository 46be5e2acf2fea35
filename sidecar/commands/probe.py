"""`eventgate-sidecar probe`: looks up every name and checks every address once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.terminal import Complaints, json_option, listen_option, print_json, routes_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sidecar.routes.language.config import Config
    from sidecar.upstreams.resolver import Resolver

Json = dict[str, Any]


@click.command()
@routes_option
@click.option("--running", is_flag=True, help="Let the sidecar that runs here probe, and show what it uses.")
@listen_option(help="Where that sidecar listens.")
@json_option
def probe(routes: Path, running: bool, listen: str, as_json: bool) -> None:
    """Check every endpoint once, now: which datacenter answers?

    With --running, the running sidecar probes the endpoints of its own configuration. It also checks the addresses
    that it still uses although DNS no longer returns them.

    Exit status: 0 if every upstream has an endpoint that answers; 1 if one has none; 2 if the file cannot
    be used or no sidecar answers.
    """
    import asyncio

    from rich.console import Console

    from sidecar.routes.file import read_config
    from sidecar.upstreams.resolver import Resolver

    with Complaints():
        if running:
            from sidecar.status.ask import probed_by

            found = probed_by(listen)
        else:
            found = asyncio.run(probed(read_config(routes), Resolver()))
    if as_json:
        print_json(found)
    else:
        show(found["endpoints"], Console())
    if not found["ok"]:
        sys.exit(1)


async def probed(config: Config, resolver: Resolver) -> Json:
    """Probe all endpoints of a configuration."""
    from sidecar.eventgate.healthcheck import check
    from sidecar.status.probe import as_data, probe_all
    from sidecar.upstreams.endpoints import make_pools

    return as_data(await probe_all(make_pools(config.upstreams).values(), resolver.look_up, check))


def show(found: Sequence[Json], console: Console) -> None:
    """Print for each upstream which endpoints answer, and a table of the checks."""
    from rich.padding import Padding
    from rich.text import Text

    for upstream in dict.fromkeys(each["upstream"] for each in found):
        endpoints = [each for each in found if each["upstream"] == upstream]
        console.print(Text(_answer(upstream, endpoints), style="bold"), soft_wrap=True)
        console.print(Padding(_table(endpoints), (0, 0, 0, 2)))
        for each in endpoints:
            addresses = ", ".join(address["address"] for address in each["addresses"])
            if each["chain"]:
                way = " → ".join((each["name"], *each["chain"], addresses or "no address"))
                console.print(Text(f"  {each['endpoint']}: {way}", style="dim"), soft_wrap=True)
            if each["problem"] and addresses:
                known = f"DNS fails ({each['problem']}); the last known addresses are in use"
                console.print(Text(f"  {each['endpoint']}: {known}", style="yellow"), soft_wrap=True)
        console.print()


def _answer(upstream: str, endpoints: Sequence[Json]) -> str:
    healthy = [each["endpoint"] for each in endpoints if each["healthy"]]
    if not healthy:
        return f"{upstream}: nothing answers"
    return f"{upstream}: {' and '.join(healthy)} answer{'s' if len(healthy) == 1 else ''}"


def _table(endpoints: Sequence[Json]) -> Table:
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
    running = any(address["in_use"] for each in endpoints for address in each["addresses"])
    if running:
        table.add_column("in use\nas", no_wrap=True)
    for each in endpoints:
        name = [Text(each["endpoint"])] if len(endpoints) > 1 else []
        dns = _shown_ms(each["dns_ms"])
        if not each["addresses"]:
            table.add_row(*name, "none", Text(each["problem"] or "", style="red"), dns)
        for it in each["addresses"]:
            mesh = " (through a service mesh)" if it["service_mesh"] and it["healthy"] else ""
            verdict = Text(f"{it['verdict']}{mesh}", style="green" if it["healthy"] else "red")
            phases = [_shown_ms(it[f"{phase}_ms"]) for phase in Phase]
            state = [Text((it["in_use"] or "–").partition(" ")[0])] if running else []
            table.add_row(*name, Text(it["address"]), verdict, dns, *phases, it["certificate_expires"], *state)
    return table


def _shown_ms(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"
