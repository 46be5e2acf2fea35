"""The lab's DNS server: Debian's dnsmasq. As in production, the names of staging are CNAMEs of workers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from tests.netns.network import HOSTS, LabError, Network, eventually, words_of

TTL = 5
"""Seconds; short, so that a change takes effect within one experiment."""
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
    """One dnsmasq; it is restarted to change what it serves, which takes about 20 ms."""

    def __init__(self, network: Network, folder: Path) -> None:
        """Its files go to `folder`."""
        self._network = network
        self._folder = folder
        self._running = contextlib.AsyncExitStack()

    async def serve(self, cnames: Mapping[str, str] = CNAMES, workers: Mapping[str, Sequence[str]] = WORKERS) -> None:
        """Serve these names; for others, answer that there is no such name."""
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
        # When it has read the workers, it is ready.
        if not await eventually(lambda: b"read " in log.read_bytes(), START_SECONDS):
            raise LabError(f"dnsmasq does not start: {words_of(log)}")

    async def stop(self) -> None:
        """Stop answering; the host reports a closed port."""
        await self._running.aclose()

    @contextlib.asynccontextmanager
    async def instead(
        self, cnames: Mapping[str, str] = CNAMES, workers: Mapping[str, Sequence[str]] = WORKERS
    ) -> AsyncIterator[None]:
        """Serve other names for the duration of the block."""
        await self.serve(cnames, workers)
        try:
            yield
        finally:
            await self.serve()
