"""One POST to one endpoint of EventGate, and what its end means.

The only module that speaks HTTP outward: httpx over aiohttp's connection pool. No other library's exception
and no status code leaves it; what does is the verdict on each event, or a `Failed`.
"""

from __future__ import annotations

import asyncio
import email.utils
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

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
KEEPALIVE_SECONDS = 3.5
"""Below the 4.5 s after which Wikimedia's TLS proxies close an idle connection, so that we close it first."""


class _OwnError(msgspec.Struct):
    """EventGate's answer to a body it could not read (lib/util.js, setErrorHandler)."""

    type: str = ""
    title: str = ""
    detail: str = ""


class EventGate:
    """One endpoint; holds its connections."""

    def __init__(self, name: str, url: str, tls: Tls, timeouts: Timeouts) -> None:
        """`name` is the datacenter's, or the host's where there is only one.

        Raises:
            SettingError: the CA file of `tls` cannot be read.

        """
        self.name = name
        self.url = url
        self._timeouts = timeouts
        self._tls = tls
        self._ssl = _ssl_context(url, tls)
        self._client: httpx.AsyncClient | None = None

    async def post(
        self, events: Sequence[Outgoing], headers: Sequence[tuple[str, str]], hasty: bool, seconds: float
    ) -> list[EventStatus] | Failed:
        """POST `events` as one array; return the status of each, in their order, or why there is none.

        Ends within `seconds`. Raises nothing but cancellation.
        """
        limit = min(seconds, self._timeouts.attempt)
        try:
            async with asyncio.timeout(limit):
                response, body = await self._exchange(array(events), headers, hasty, limit)
        except TimeoutError:
            return Failed(FailureClass.AMBIGUOUS, f"no answer within {limit:.2g} s")
        except httpx.HTTPError as error:
            return _failed(error.__cause__ or error)
        except aiohttp.ClientError as error:  # what httpx-aiohttp does not map
            return _failed(error)
        if body is None:
            return Failed(FailureClass.AMBIGUOUS, f"its answer is over {MAX_REPLY_BYTES} bytes")
        statuses = read(response.status_code, body, events)
        return statuses if statuses is not None else _no_verdict(response, body)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _exchange(
        self, body: bytes, headers: Sequence[tuple[str, str]], hasty: bool, limit: float
    ) -> tuple[httpx.Response, bytes | None]:
        connect = min(self._timeouts.connect, limit)
        timeout = httpx.Timeout(limit, connect=connect, pool=connect)
        request = self._opened().build_request(
            "POST",
            f"{self.url}?hasty=true" if hasty else self.url,
            content=body,
            headers=[("content-type", "application/json"), ("accept-encoding", "identity"), *headers],
            timeout=timeout,
            extensions={"sni_hostname": self._tls.server_name} if self._tls.server_name else None,
        )
        response = await self._opened().send(request, stream=True)
        try:
            return response, await _read_capped(response)
        finally:
            await response.aclose()

    def _opened(self) -> httpx.AsyncClient:
        """Return the client, made on first use: aiohttp's session belongs to the running event loop."""
        if self._client is None:
            connector = aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS, ssl=self._ssl
            )
            session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
            )
            # The transport must be given a context, or it reads the CA bundle once more; the connector's counts.
            transport = AiohttpTransport(client=session, verify=self._ssl, trust_env=False)
            self._client = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
        return self._client


def _ssl_context(url: str, tls: Tls) -> ssl.SSLContext:
    if urlsplit(url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; trusts nothing
    try:
        return ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"tls.ca_file {tls.ca_file} cannot be read as PEM certificates: {error.strerror or error}"
        ) from None


async def _read_capped(response: httpx.Response) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _failed(error: BaseException) -> Failed:
    """Say what an exception means for the events.

    httpx-aiohttp maps a connection that the server closed to httpx.ConnectTimeout, as if nothing had been
    sent; so aiohttp's own exception, its cause, decides.
    """
    words = _words(error)
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)):
        return Failed(FailureClass.NEVER_SENT, f"cannot connect: {words}")
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError)):
        return Failed(FailureClass.AMBIGUOUS, f"connection lost before the answer was complete: {words}")
    if isinstance(error, (aiohttp.ServerTimeoutError, httpx.TimeoutException)):
        return Failed(FailureClass.AMBIGUOUS, f"no answer in time: {words}")
    return Failed(FailureClass.AMBIGUOUS, f"its answer is no HTTP we can read: {words}")


def _words(error: BaseException) -> str:
    """Say what went wrong as the system says it; aiohttp's own words repeat host and port."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or str(error.os_error) or "no reason given"
    return str(error).strip() or type(error).__name__


def _no_verdict(response: httpx.Response, body: bytes) -> Failed:
    status = response.status_code
    retry_after = _seconds(response.headers.get("retry-after"))
    own = _own_error(body)
    if own is not None and own.title in ("SyntaxError", "PayloadTooLargeError"):
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
