"""The upstream: emulated EventGates of our own, or any EventGate given by URL."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.processes import Running, free_port, listener

SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")
PATH = "/v1/events"


class UpstreamError(Exception):
    """There is nothing to measure against."""


@dataclass(frozen=True)
class Upstream:
    """Where every way delivers to."""

    host: str
    port: int
    tls: bool
    pid: int | None
    """Whose processor time counts; None where it cannot be seen."""
    ca: Path = SYSTEM_CA

    @property
    def url(self) -> str:
        """Say where to POST."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{PATH}"


@dataclass(frozen=True)
class Upstreams:
    """What there is to deliver to, with TLS and without."""

    kind: str
    """As results.json keeps them apart: `emulator` or `eventgate`."""
    name: str
    by_tls: dict[bool, Upstream]


def given(url: str) -> Upstream:
    """Take apart a URL that somebody gave; a path other than EventGate's is refused."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.rstrip("/") not in {"", PATH}:
        raise UpstreamError(f"{url} is not http[s]://HOST:PORT")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    local = parts.hostname in {"127.0.0.1", "localhost"}
    return Upstream(parts.hostname, port, tls, listener(port) if local else None)


async def kind_of(upstream: Upstream) -> str:
    """Ask a service for its name and version; say that it is unknown where it has none."""
    with suppress(OSError, TimeoutError, ValueError, KeyError):
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(upstream.host, upstream.port, ssl=upstream.tls or None)
            writer.write(f"GET /_info HTTP/1.1\r\nHost: {upstream.host}\r\nConnection: close\r\n\r\n".encode())
            said = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
            writer.close()
        if said["name"] == "eventgate":
            return f"EventGate {said['version']}"
    return "a service that does not say which"


@asynccontextmanager
async def running(url: str | None, folder: Path) -> AsyncIterator[Upstreams]:
    """Have upstreams until the block is left: the one that was given, or emulators."""
    if url is not None:
        upstream = given(url)
        yield Upstreams("eventgate", await kind_of(upstream), {upstream.tls: upstream})
        return
    async with AsyncExitStack() as stack:
        upstreams = {}
        certificate = await _certificate(folder)
        for tls in (False, True) if certificate else (False,):
            port = free_port()
            command = [
                sys.executable,
                "-m",
                "sidecar.demo.emulator",
                "--name",
                "bench",
                "--listen",
                f"127.0.0.1:{port}",
            ]
            if tls and certificate:
                command += ["--certfile", str(certificate[0]), "--keyfile", str(certificate[1])]
            process = await Running.start(command, folder / f"emulator-{port}.log", port)
            stack.push_async_callback(process.stop)
            ca = certificate[0] if certificate else SYSTEM_CA
            upstreams[tls] = Upstream("127.0.0.1", port, tls, process.pid, ca)
        yield Upstreams("emulator", "the emulator", upstreams)


async def _certificate(folder: Path) -> tuple[Path, Path] | None:
    """Make a certificate that is its own authority; None where openssl is missing."""
    certificate, key = folder / "upstream.pem", folder / "upstream.key"
    try:
        process = await asyncio.create_subprocess_exec(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return None
    return (certificate, key) if await process.wait() == 0 else None
