"""One health check of one address: TCP connect, TLS handshake, GET, each timed, all within one deadline.

It always opens a new connection: an address that hangs often keeps its old ones open, and only a new one shows in which
phase it hangs.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

import h11

from sidecar.eventgate.failures import system_words, tls_words

MAX_CHECK_BYTES = 64 * 1024


class Phase(enum.StrEnum):
    """The phases of a check, in order."""

    TCP = "tcp"
    TLS = "tls"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Target:
    """The address to connect to, and the name to ask for."""

    address: str
    port: int
    host: str
    """For the Host header, with the port unless it is the scheme's."""
    path: str
    server_name: str
    """For SNI and the certificate; not used without `tls`."""
    tls: ssl.SSLContext | None


@dataclass
class CheckResult:
    """The result of a check."""

    passed: bool = False
    words: str = ""
    """The verdict in words, for log, status page and `probe`."""
    seconds: dict[Phase, float] = field(default_factory=dict)
    """How long each completed phase took."""
    server: str = ""
    """The Server header of the answer."""
    mesh: bool = False
    """Whether the answer came through a service mesh, or from it."""
    expires: float | None = None
    """When the certificate expires, in seconds since 1970."""


async def check(target: Target, seconds: float) -> CheckResult:
    """Check `target`; ends within `seconds`, and raises nothing but cancellation."""
    result = CheckResult()
    progress = _Progress()
    try:
        async with asyncio.timeout(seconds):
            await _run(target, result, progress)
    except TimeoutError:
        result.words = _hung(progress, seconds)
    except ssl.SSLError as error:
        result.words = tls_words(error)
    except ConnectionRefusedError:
        result.words = "refuses the connection"
    except (OSError, h11.ProtocolError, ValueError) as error:  # ValueError: a name or a path that no request can have
        if progress.phase is Phase.TLS and isinstance(error, OSError):
            result.words = tls_words(error)
        else:
            # cut: it may quote the answer
            result.words = f"{progress.phase.upper()} fails: {system_words(error)[:200]}"
    return result


@dataclass
class _Progress:
    """How far a check has got."""

    phase: Phase = Phase.TCP
    answering: bool = False
    """Whether the answer has begun."""


def _hung(progress: _Progress, timeout: float) -> str:
    if progress.answering:
        return f"starts to answer, but does not finish within {timeout:g} s: too slow"
    return {
        Phase.TCP: f"no connection within {timeout:g} s: hangs",
        Phase.TLS: f"connects, then silent in the TLS handshake for {timeout:g} s: hangs",
        Phase.HTTP: f"connects, then silent for {timeout:g} s: hangs",
    }[progress.phase]


async def _run(target: Target, result: CheckResult, progress: _Progress) -> None:
    start = time.monotonic()
    reader, writer = await asyncio.open_connection(target.address, target.port)
    try:
        result.seconds[Phase.TCP] = time.monotonic() - start
        if target.tls is not None:
            progress.phase = Phase.TLS
            start = time.monotonic()
            await writer.start_tls(target.tls, server_hostname=target.server_name)
            result.seconds[Phase.TLS] = time.monotonic() - start
            result.expires = _expiry(writer.get_extra_info("ssl_object"))
        progress.phase = Phase.HTTP
        start = time.monotonic()
        response = await _get(target, reader, writer, progress)
        result.seconds[Phase.HTTP] = time.monotonic() - start
    finally:
        writer.transport.abort()
    _judge(response, result)


def _expiry(ssl_object: Any) -> float | None:
    certificate = ssl_object.getpeercert() if ssl_object is not None else None
    return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None


async def _get(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, progress: _Progress
) -> h11.Response:
    """Send the request and read the whole answer."""
    wire = h11.Connection(h11.CLIENT)
    headers = [("host", target.host), ("user-agent", "eventgate-sidecar"), ("connection", "close")]
    request = h11.Request(method="GET", target=target.path, headers=headers)
    writer.write((wire.send(request) or b"") + (wire.send(h11.EndOfMessage()) or b""))
    response: h11.Response | None = None
    size = 0
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(16384)
            size += len(data)
            progress.answering = True
            if not data and response is None:
                raise ConnectionResetError("closes the connection without an answer")
            wire.receive_data(data)
        elif isinstance(event, h11.Response):
            response = event
        elif response is not None and (isinstance(event, h11.EndOfMessage) or size > MAX_CHECK_BYTES):
            return response
        if response is None and size > MAX_CHECK_BYTES:
            raise ValueError(f"over {MAX_CHECK_BYTES} bytes arrived without an answer")


def _judge(response: h11.Response, result: CheckResult) -> None:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    result.server = headers.get("server", "")
    result.mesh = "envoy" in result.server.lower() or "x-envoy-upstream-service-time" in headers
    result.passed = response.status_code == 200
    result.words = "answers" if result.passed else f"answers {response.status_code}"
    if result.mesh and not result.passed:
        result.words += " (a service mesh's answer, not EventGate's)"
