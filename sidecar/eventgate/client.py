"""One POST to one address of EventGate, and its result.

Only this module posts, over `connection`. Callers see neither exceptions nor status codes: they get a status for each
event, or a `Failed`.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec

from sidecar import __version__
from sidecar.eventgate.connection import MAX_REPLY_BYTES, BadReply, Connection, Reply, open_connection
from sidecar.eventgate.failures import Failed, FailureClass, failure_of_status, system_words, tls_words
from sidecar.eventgate.trust import Trust
from sidecar.eventgate.verdict import read
from sidecar.events.outgoing import Headers, Load, Outgoing
from sidecar.events.results import EventStatus
from sidecar.routes.language.config import Timeouts

MAX_CONNECTIONS = 256
"""To one address; further POSTs wait."""
AGENT = ("user-agent", f"eventgate-sidecar/{__version__}")
"""Sent unless the producer sent one."""
_AGENT_LINE = b"%b: %b\r\n" % (AGENT[0].encode(), AGENT[1].encode())
KEEPALIVE_SECONDS = 3.5
"""Below the 4.5 s after which Wikimedia's TLS proxies close an idle connection, so that the sidecar closes it first."""


def reply_limit(sent: int) -> int:
    """Return the maximum length of the answer to a POST of `sent` bytes: many are read at once, and a pod has 100 MiB.

    EventGate echoes failed events with defaults and errors, so a real answer can be a few times as long as the POST.
    """
    return min(MAX_REPLY_BYTES, 256 * 1024 + 4 * sent)


UNREADABLE = frozenset({"SyntaxError", "PayloadTooLargeError", "UnsupportedMediaTypeError"})
"""Titles of EventGate's 500 for a body that it never accepts."""


class _OwnError(msgspec.Struct):
    """EventGate's answer to a body that it cannot read (lib/util.js, setErrorHandler)."""

    type: str = ""
    title: str = ""
    detail: str = ""


Result = list[EventStatus] | Failed | Exception
"""The status of each event of a POST, in order, or why there is none; an exception is a bug of the sidecar."""

OnResult = Callable[[Result], None]


class Attempt(msgspec.Struct, eq=False):
    """One POST in flight."""

    load: Load
    on_result: OnResult | None
    """Called with its result; None once it has ended."""
    sent_at: float | None = None
    """Monotonic time at which it was written; None: EventGate cannot have seen it."""
    status: int | None = None
    """The HTTP status of the answer."""
    connection: Connection | None = None
    connecting: asyncio.Task[None] | None = None


class EventGate:
    """EventGate at one address, with a pool of connections."""

    def __init__(self, url: str, ip: str, trust: Trust | None, server_name: str, timeouts: Timeouts) -> None:
        """`url` is the endpoint's, `ip` the address to connect to; `trust` is None for http."""
        parts = urlsplit(url)
        self._ip = ip
        self._port = parts.port or (443 if trust else 80)
        head = (
            f" HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\n"
        )
        self._head = f"POST {parts.path}{head}".encode("latin-1")
        self._hasty_head = f"POST {parts.path}?hasty=true{head}".encode("latin-1")
        self._trust = trust
        self._server_name = server_name
        self._timeouts = timeouts
        self._idle: list[tuple[Connection, float]] = []
        """Connections and when they were last used; the last one is reused first."""
        self._in_use = 0
        """Connections of attempts, including those being opened."""
        self._waiting: deque[tuple[Attempt, bytes, asyncio.TaskGroup]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def post(self, load: Load, tasks: asyncio.TaskGroup, on_result: OnResult) -> Attempt:
        """POST `load` as one array; `on_result` is called once with the result, after this returns.

        If a connection is free, the request is written before this returns; connecting runs in `tasks`. Only connecting
        has a timeout here: the caller gives up on an attempt that takes too long.
        """
        attempt = Attempt(load, on_result)
        self._start(attempt, self._request(load), tasks)
        return attempt

    def give_up(self, attempt: Attempt) -> None:
        """Abandon an attempt; its `on_result` is not called."""
        attempt.on_result = None
        self._release(attempt)

    def close(self) -> None:
        """Close all connections; those in use when their exchange ends."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        while self._idle:
            self._idle.pop()[0].close()

    def _request(self, load: Load) -> bytes:
        body = array(load.events)
        head = self._hasty_head if load.hasty else self._head
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, _lines(load.headers), len(body), body)

    def _start(self, attempt: Attempt, data: bytes, tasks: asyncio.TaskGroup) -> None:
        if self._in_use >= MAX_CONNECTIONS:
            self._waiting.append((attempt, data, tasks))
            return
        self._in_use += 1
        connection = self._idle_connection()
        if connection is not None:
            self._send(attempt, data, connection)
        else:
            attempt.connecting = tasks.create_task(self._connect(attempt, data))

    def _send(self, attempt: Attempt, data: bytes, connection: Connection) -> None:
        attempt.connection = connection
        attempt.sent_at = time.monotonic()
        connection.exchange(data, functools.partial(self._answered, attempt), reply_limit(len(data)))

    async def _connect(self, attempt: Attempt, data: bytes) -> None:
        tls = self._trust.context if self._trust else None
        try:
            async with asyncio.timeout(self._timeouts.connect):
                connection = await open_connection(self._ip, self._port, tls, self._server_name)
        except TimeoutError:
            why = f"no connection within {self._timeouts.connect:.2g} s"
        except OSError as error:
            why = tls_words(error) if _is_of_tls(error, tls) else system_words(error)
        except Exception as error:  # noqa: BLE001  a bug must end this attempt only
            why = f"{type(error).__name__}: {error}"
        else:
            attempt.connecting = None
            try:
                self._send(attempt, data, connection)
            except Exception as error:  # noqa: BLE001  as above
                self._end(attempt, error)
            return
        attempt.connecting = None
        self._end(attempt, Failed(FailureClass.NEVER_SENT, f"cannot connect: {why}"))

    def _answered(self, attempt: Attempt, reply: Reply | Exception) -> None:
        if isinstance(reply, Reply):
            attempt.status = reply.status
        self._end(attempt, _result_of(reply, attempt.load))

    def _end(self, attempt: Attempt, result: Result) -> None:
        on_result, attempt.on_result = attempt.on_result, None
        self._release(attempt)
        if on_result is not None:
            on_result(result)

    def _release(self, attempt: Attempt) -> None:
        """Release an attempt's connection, and start a waiting attempt."""
        if attempt.connection is None and attempt.connecting is None and self._forget_waiting(attempt):
            return
        if attempt.connecting is not None:
            attempt.connecting.cancel()
        if attempt.connection is not None:
            self._put_back(attempt.connection)
        self._in_use -= 1
        if self._waiting:
            self._start(*self._waiting.popleft())

    def _forget_waiting(self, attempt: Attempt) -> bool:
        for each in self._waiting:
            if each[0] is attempt:
                self._waiting.remove(each)
                return True
        return False

    def _idle_connection(self) -> Connection | None:
        """Return a connection that is open and not stale, or None."""
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_open and time.monotonic() - since < KEEPALIVE_SECONDS:
                return connection
            connection.close()
        return None

    def _put_back(self, connection: Connection) -> None:
        """Keep a connection for reuse, or close it, such as one whose answer is outstanding."""
        if self._closed or not connection.may_be_reused or not connection.is_open:
            connection.close()
            return
        self._idle.append((connection, time.monotonic()))
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self._close_stale)

    def _close_stale(self) -> None:
        """Close connections that were idle too long, and come back while others are left."""
        self._sweep = None
        now = time.monotonic()
        stale = [connection for connection, since in self._idle if now - since >= KEEPALIVE_SECONDS]
        for connection in stale:
            connection.close()
        self._idle = [(connection, since) for connection, since in self._idle if connection.is_open]
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self._close_stale)


def array(events: Sequence[Outgoing]) -> bytes:
    """Return the body of one POST: a lone event as is, so that the largest one still fits, else an array.

    EventGate treats both alike, except for `{}`, an empty body to it; so events without an id go in an array.
    """
    if len(events) == 1 and events[0].id is not None:
        return events[0].body
    return b"[" + b",".join([event.body for event in events]) + b"]"


def _lines(headers: Headers) -> bytes:
    """Return the header lines, with `AGENT` unless they have a user agent."""
    if not headers:
        return _AGENT_LINE
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
    return lines if any(name == "user-agent" for name, _ in headers) else lines + _AGENT_LINE


def _result_of(reply: Reply | Exception, load: Load) -> Result:
    if isinstance(reply, BadReply):
        return Failed(FailureClass.AMBIGUOUS, str(reply))
    if isinstance(reply, Exception):
        return Failed(FailureClass.AMBIGUOUS, f"connection lost before the answer was complete: {system_words(reply)}")
    try:
        return read(reply.status, reply.reason, reply.body, load.events, load.hasty) or _no_verdict(reply)
    except Exception as bug:  # noqa: BLE001  a bug must end this attempt only
        return bug


def _is_of_tls(error: OSError, tls: ssl.SSLContext | None) -> bool:
    """Whether connecting failed in the TLS handshake; before it, a connection is refused, but never reset."""
    return tls is not None and isinstance(error, ssl.SSLError | ConnectionResetError)


def _no_verdict(reply: Reply) -> Failed:
    retry_after = _seconds(reply.headers.get("retry-after"))
    own = _own_error(reply.body)
    if own is not None and own.title in UNREADABLE:
        return Failed(FailureClass.REFUSED, f"EventGate answered {reply.status} {own.title}: {own.detail}")
    reason = f"it answered {reply.status} {phrase(reply)}, which says nothing about the events"
    if 300 <= reply.status < 400:
        reason = f"it answered {reply.status} with a redirect; redirects are not followed, so its url is wrong"
    encoding = reply.headers.get("content-encoding", "identity")
    if encoding != "identity":
        reason = f"it answered {reply.status}, but its answer is compressed ({encoding[:20]}), which was not requested"
    return Failed(failure_of_status(reply.status, retry_after), reason, retry_after or 0.0)


def phrase(reply: Reply) -> str:
    """Return the reason phrase, or the standard one if it is empty."""
    if reply.reason or reply.status not in set(HTTPStatus):
        return reply.reason or "without a reason"
    return HTTPStatus(reply.status).phrase


def _own_error(body: bytes) -> _OwnError | None:
    try:
        error = msgspec.json.decode(body, type=_OwnError)
    except (ValueError, RecursionError):
        return None
    return error if error.type == "internal_error" else None


def _seconds(value: str | None) -> float | None:
    """Parse Retry-After (RFC 9110, 10.2.3): seconds, at most 300; any date counts as 1 second."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), 300.0)
    return 1.0 if email.utils.parsedate(value) else None
