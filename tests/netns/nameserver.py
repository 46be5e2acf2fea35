"""The DNS server of the lab: Debian's dnsmasq. As in reality, the names of staging are CNAMEs to workers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from tests.netns.network import HOSTS, LabError, Network, eventually, words_of

TTL = 5
"""Seconds; small, so that a change is felt within one experiment."""
START_SECONDS = 5.0
WORKERS: Mapping[str, Sequence[str]] = {
    "kubestage1003.eqiad.wmnet": HOSTS["eqiad"][:1],
    "kubestage1004.eqiad.wmnet": HOSTS["eqiad2"],
    "kubestage2001.codfw.wmnet": HOSTS["codfw"],
}
CNAMES: Mapping[str, str] = {
    "staging.svc.eqiad.wmnet": "kubestage1003.eqiad.wmnet",
    "staging.svc.codfw.wmnet": "kubestage2001.codfw.wmnet",
}


class NameServer:
    """One dnsmasq; started anew to change what it serves, which takes some 20 ms."""

    def __init__(self, network: Network, folder: Path) -> None:
        """`folder` is for its files."""
        self._network = network
        self._folder = folder
        self._running = contextlib.AsyncExitStack()

    async def serve(self, cnames: Mapping[str, str] = CNAMES, workers: Mapping[str, Sequence[str]] = WORKERS) -> None:
        """Serve these names, and that no other exists."""
        hosts = self._folder / "workers"
        lines = [f"{address} {name}\n" for name, addresses in workers.items() for address in addresses]
        hosts.write_text("".join(lines))
        settings = [
            "keep-in-foreground",
            "log-facility=-",
            "user=root",
            f"pid-file={self._folder / 'dnsmasq.pid'}",
            f"listen-address={HOSTS['dns'][0]}",
            "bind-interfaces",
            "no-resolv",
            "no-hosts",
            "local=/wmnet/",
            "local=/cluster.local/",
            f"addn-hosts={hosts}",
            f"local-ttl={TTL}",
            *(f"cname={name},{target},{TTL}" for name, target in cnames.items()),
        ]
        (self._folder / "dnsmasq.conf").write_text("\n".join(settings) + "\n")
        await self.stop()
        log = self._folder / "dnsmasq.log"
        log.write_bytes(b"")
        arguments = ("dnsmasq", f"--conf-file={self._folder / 'dnsmasq.conf'}")
        running = self._network.running("dns", *arguments, log=log, talks=False)
        await self._running.enter_async_context(running)
        # Its last word on starting is that it has read the workers.
        if not await eventually(lambda: b"read " in log.read_bytes(), START_SECONDS):
            raise LabError(f"dnsmasq does not start: {words_of(log)}")

    async def stop(self) -> None:
        """Let nobody answer any more; the host tells those who ask that the port is closed."""
        await self._running.aclose()

    @contextlib.asynccontextmanager
    async def instead(
        self, cnames: Mapping[str, str] = CNAMES, workers: Mapping[str, Sequence[str]] = WORKERS
    ) -> AsyncIterator[None]:
        """Serve other names for as long as the block lasts."""
        await self.serve(cnames, workers)
        try:
            yield
        finally:
            await self.serve()
