"""One POST to one address of EventGate, and what its end means.

The only module that speaks HTTP outward: httpx over aiohttp's connection pool. No other library's exception
and no status code leaves it; what does is the verdict on each event, or a `Failed`.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import ssl
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from sidecar import __version__
from sidecar.batching import array
from sidecar.config import Timeouts, Tls
from sidecar.errors import SettingError
from sidecar.event import Outgoing
from sidecar.results import EventStatus
from sidecar.retry import Failed, FailureClass, failure_of_status
from sidecar.verdict import read

MAX_REPLY_BYTES = 32 * 1024 * 1024
"""EventGate echoes failed events, so a reply can be about as large as the largest body, with defaults on top."""
MAX_CONNECTIONS = 256
AGENT = ("user-agent", f"eventgate-sidecar/{__version__}")
"""Sent where the producer names none."""
KEEPALIVE_SECONDS = 3.5
"""Below the 4.5 s after which Wikimedia's TLS proxies close an idle connection, so that we close it first."""


UNREADABLE = frozenset({"SyntaxError", "PayloadTooLargeError", "UnsupportedMediaTypeError"})
"""Titles of EventGate's own 500 for a body that it will not read, however often it is sent."""


class _OwnError(msgspec.Struct):
    """EventGate's answer to a body it could not read (lib/util.js, setErrorHandler)."""

    type: str = ""
    title: str = ""
    detail: str = ""


@dataclass
class Attempt:
    """One POST on its way."""

    sent_at: float | None = None
    """Monotonic time at which its headers were written; None: EventGate cannot have seen anything."""


_attempt: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


async def _note_sent(_session: object, _context: object, _params: object) -> None:
    attempt = _attempt.get()
    if attempt is not None:
        attempt.sent_at = time.monotonic()


class EventGate:
    """EventGate at one address; holds the connections to it."""

    def __init__(self, url: str, ip: str, tls: ssl.SSLContext | None, server_name: str, timeouts: Timeouts) -> None:
        """`url` is what the endpoint is called, `ip` what is dialled; `tls` is None for http."""
        parts = urlsplit(url)
        host = f"[{ip}]" if ":" in ip else ip
        port = f":{parts.port}" if parts.port else ""
        self._url = f"{parts.scheme}://{host}{port}{parts.path}"
        self._headers = [
            ("host", parts.netloc),
            ("content-type", "application/json"),
            ("accept-encoding", "identity"),
        ]
        self._tls = tls
        self._extensions = {"sni_hostname": server_name} if tls else {}
        self._timeouts = timeouts
        self._transport: AiohttpTransport | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_flight = 0

    async def post(
        self,
        events: Sequence[Outgoing],
        headers: Sequence[tuple[str, str]],
        hasty: bool,
        seconds: float,
        attempt: Attempt,
    ) -> list[EventStatus] | Failed:
        """POST `events` as one array; return the status of each, in their order, or why there is none.

        Ends within `seconds`. Raises nothing but cancellation. `attempt` is told when something was sent.
        """
        limit = min(seconds, self._timeouts.attempt)
        _attempt.set(attempt)
        self._in_flight += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(limit):
                response, body = await self._exchange(array(events), headers, hasty, limit)
        except TimeoutError:
            return _timed_out(attempt, limit)
        except httpx.HTTPError as error:
            return _failed(error.__cause__ or error, attempt)
        except aiohttp.ClientError as error:  # what httpx-aiohttp does not map
            return _failed(error, attempt)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        if body is None:
            return Failed(FailureClass.AMBIGUOUS, f"its answer is over {MAX_REPLY_BYTES} bytes")
        statuses = read(response.status_code, body, events)
        return statuses if statuses is not None else _no_verdict(response, body)

    async def drain(self) -> None:
        """Wait until nothing is under way, then close all connections."""
        await self._idle.wait()
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._transport is not None:
            transport, self._transport = self._transport, None
            await transport.aclose()

    async def _exchange(
        self, body: bytes, headers: Sequence[tuple[str, str]], hasty: bool, limit: float
    ) -> tuple[httpx.Response, bytes | None]:
        connect = min(self._timeouts.connect, limit)
        request = httpx.Request(
            "POST",
            f"{self._url}?hasty=true" if hasty else self._url,
            content=body,
            headers=[*self._headers, *(headers if _names_agent(headers) else [*headers, AGENT])],
            extensions={"timeout": {"connect": connect, "pool": connect, "read": limit}, **self._extensions},
        )
        response = await self._opened().handle_async_request(request)
        try:
            return response, await _read_capped(response)
        finally:
            await response.aclose()

    def _opened(self) -> AiohttpTransport:
        """Return the connections, made on first use: aiohttp's session belongs to the running event loop.

        The transport alone, without httpx's client: redirects, cookies, authentication and proxies from the
        environment are what we must not do anyway, and cost as much as the POST itself.
        """
        if self._transport is None:
            # The transport must be given a context, or it reads the CA bundle once more; the connector's counts.
            context = self._tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note_sent)
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS, ssl=context),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                trace_configs=[trace],
            )
            self._transport = AiohttpTransport(client=session, verify=context, trust_env=False)
        return self._transport


def make_ssl_context(tls: Tls) -> ssl.SSLContext:
    """Return a context that verifies against `tls.ca_file`, or against the system's authorities.

    Raises:
        SettingError: the file cannot be read, or holds no certificates.

    """
    try:
        return ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"tls.ca_file {tls.ca_file} cannot be read as PEM certificates: {error.strerror or error}"
        ) from None


def _names_agent(headers: Sequence[tuple[str, str]]) -> bool:
    return any(name == "user-agent" for name, _ in headers)


async def _read_capped(response: httpx.Response) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _timed_out(attempt: Attempt, seconds: float) -> Failed:
    if attempt.sent_at is None:
        return Failed(FailureClass.NEVER_SENT, f"cannot connect within {seconds:.2g} s")
    return Failed(FailureClass.AMBIGUOUS, f"no answer within {seconds:.2g} s")


def _failed(error: BaseException, attempt: Attempt) -> Failed:
    """Say what an exception means for the events: only whether something was sent decides.

    httpx-aiohttp maps a connection that the server closed to httpx.ConnectTimeout, as if nothing had been
    sent; so `attempt` is asked, and not the class of the exception.
    """
    words = _words(error)
    if attempt.sent_at is None:
        return Failed(FailureClass.NEVER_SENT, f"cannot connect: {words}")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return Failed(FailureClass.AMBIGUOUS, f"connection lost before the answer was complete: {words}")
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return Failed(FailureClass.AMBIGUOUS, f"no answer in time: {words}")
    return Failed(FailureClass.AMBIGUOUS, f"its answer is no HTTP we can read: {words}")


def _words(error: BaseException) -> str:
    """Say what went wrong as the system says it; aiohttp's own words repeat host and port."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        errno = error.os_error.errno
        return os.strerror(errno) if errno else str(error.os_error) or "no reason given"
    return str(error).strip() or type(error).__name__


def _no_verdict(response: httpx.Response, body: bytes) -> Failed:
    status = response.status_code
    retry_after = _seconds(response.headers.get("retry-after"))
    own = _own_error(body)
    if own is not None and own.title in UNREADABLE:
        return Failed(FailureClass.REFUSED, f"EventGate answered {status} {own.title}: {own.detail}")
    words = response.reason_phrase or "without a reason"
    reason = f"it answered {status} {words}, which says nothing about the events"
    if 300 <= status < 400:
        reason = f"it answered {status} with a redirect; redirects are not followed, so its url is wrong"
    return Failed(failure_of_status(status, retry_after), reason, retry_after or 0.0)


def _own_error(body: bytes) -> _OwnError | None:
    try:
        error = msgspec.json.decode(body, type=_OwnError)
    except (ValueError, RecursionError):
        return None
    return error if error.type == "internal_error" else None


def _seconds(value: str | None) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date, of which we only take that it is one."""
    if value is None:
        return None
    if value.isdigit():
        return min(float(value), 300.0)
    return 1.0 if email.utils.parsedate(value) else None
