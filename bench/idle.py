"""`python -m bench --idle`: what a sidecar costs that has nothing to do.

It runs the shipped routes with all their health checks, over TLS to an emulated EventGate, and is asked what a pod
is asked: the probes every 10 s and the metrics every minute. Its names are below `localhost`, so no DNS is asked; a
look-up costs a fraction of a health check, and comes once in 5 s at most.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.install import ROOT
from bench.processes import PROC, Running, cpu_seconds, free_port
from bench.upstream import Upstream, UpstreamError, Upstreams

BAR_PERCENT = 0.3
"""Of one core."""
SETTLE_SECONDS = 5.0
PROBES_SECONDS = 10.0
METRICS_EVERY = 6
"""Rounds of probes."""


@dataclass(frozen=True)
class Idle:
    """What was measured."""

    seconds: float
    cpu_seconds: float
    wakeups: int
    rss_mib: float

    @property
    def percent(self) -> float:
        """Of one core."""
        return 100 * self.cpu_seconds / self.seconds

    @property
    def holds(self) -> bool:
        """Whether it is within the bar."""
        return self.percent <= BAR_PERCENT

    def __str__(self) -> str:
        """Return it in one line."""
        return (
            f"idle for {self.seconds:.0f} s: {self.percent:.2f} % of a core (bar {BAR_PERCENT} %), "
            f"{self.wakeups / self.seconds:.1f} wake-ups/s, {self.rss_mib:.0f} MiB"
        )


def shipped_routes(upstream: Upstream) -> dict[str, Any]:
    """Return the shipped configuration, each endpoint of it leading to one upstream here."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "routes.yaml").read_text())
    for each in config["upstreams"].values():
        host = "{datacenter}.localhost" if "datacenters" in each else "localhost"
        each["url"] = f"https://{host}:{upstream.port}/v1/events"
        each["tls"] = {"ca_file": str(upstream.ca), "server_name": "127.0.0.1"}
    return config


async def measured(upstreams: Upstreams, folder: Path, seconds: float) -> Idle:
    """Run a sidecar, and measure for so long.

    Raises:
        UpstreamError: there is no TLS here.

    """
    if True not in upstreams.by_tls:
        raise UpstreamError("an idle sidecar is measured with health checks over TLS, and openssl is missing")
    routes, admin = folder / "idle.yaml", free_port()
    routes.write_text(yaml.safe_dump(shipped_routes(upstreams.by_tls[True]), sort_keys=False))
    command = [sys.executable, "-m", "sidecar", "serve", "--routes", str(routes), "--label", "env=staging"]
    command += ["--listen", f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{admin}"]
    command += ["--spool", str(folder / "spool")]
    process = await Running.start(command, folder / "idle.log", admin, "/readyz")
    try:
        await asyncio.sleep(SETTLE_SECONDS)
        return await _measured(process, admin, seconds)
    finally:
        await process.stop()


async def _measured(process: Running, admin: int, seconds: float) -> Idle:
    clock = asyncio.get_running_loop().time
    begun, cpu, woken = clock(), cpu_seconds(process.pid), wakeups(process.pid)
    rounds = 0
    while (left := begun + seconds - clock()) > 0:
        await asyncio.sleep(min(left, PROBES_SECONDS))
        for path in ("/livez", "/readyz", *(("/metrics",) if rounds % METRICS_EVERY == 0 else ())):
            await _ask(admin, path)
        rounds += 1
    took = clock() - begun
    return Idle(took, cpu_seconds(process.pid) - cpu, wakeups(process.pid) - woken, process.rss_mib())


async def _ask(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    await reader.read()
    writer.close()


def wakeups(pid: int) -> int:
    """Count how often the threads of a process have gone to sleep so far."""
    key = "voluntary_ctxt_switches:"
    counts = [
        int(line.split()[1])
        for status in (PROC / str(pid) / "task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith(key)
    ]
    return sum(counts)
