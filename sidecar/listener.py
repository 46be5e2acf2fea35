"""uvicorn's HTTP protocol, with what EventGate's clients expect and slow clients must not break.

- The reason phrase: EventGate says in it what became of the events ("All 2 out of 2 events were accepted."),
  aiohttp quotes it, model servers log it. ASGI has no word for it, so an application may put a key `reason`
  into `http.response.start`; other servers ignore that key.
- An answer leaves in one write.
- Headers must arrive in their time and are of bounded size (`Limits`); uvicorn bounds neither. Nothing that a
  client stops sending holds a connection for good.
- A request that is no HTTP is refused in EventGate's JSON shape, and never in place of the answer to an
  earlier one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sidecar.errors import MalformedRequest, RequestError, SettingError
from sidecar.results import Answer, of_error

BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, and for how much, the listener waits for a client."""

    header_seconds: float = 5.0
    """From the first byte of a request to the end of its headers; a client in the same pod needs none of it."""
    keep_alive_seconds: float = 90.0
    """For the next request. aiohttp reuses an idle connection for 15 s, and never repeats a POST on one that we
    closed just then."""
    header_bytes: int = 64 * 1024
    """Request line and headers together; EventGate (Node) takes 16 kB."""


Message = dict[str, Any]


def headers_of(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return the headers of `answer`; a body is JSON, and without one there is no content type."""
    headers = [
        (b"x-eventgate-sidecar", answer.outcome.encode("latin-1", "replace")),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    if answer.body:
        headers.append((b"content-type", b"application/json; charset=utf-8"))
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after))
    return headers


def _status_line(status: int, reason: str) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, reason.encode("latin-1", "replace"))


class _OneWrite:
    """Holds back the start of an answer until its body is there, then writes both at once."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Take what an ASGI application sends."""
        cycle = self._cycle
        if message["type"] == "http.response.start" and "reason" in message:
            self._start = message
            return
        start, self._start = self._start, None
        if start is None:
            await cycle.send(message)  # type: ignore[arg-type]
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        self._write(cycle, start, message["body"])

    def _write(self, cycle: RequestResponseCycle, start: Message, body: bytes) -> None:
        lines = [_status_line(start["status"], start["reason"])]
        for name, value in start["headers"]:
            lines += (name, b": ", value, b"\r\n")
            if name == b"connection" and value == b"close":
                cycle.keep_alive = False
        if not cycle.keep_alive and (b"connection", b"close") not in start["headers"]:
            lines.append(b"connection: close\r\n")
        lines += (b"\r\n", body if cycle.scope["method"] != "HEAD" else b"")
        cycle.transport.write(b"".join(lines))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


class Protocol(HttpToolsProtocol):
    """One connection of a producer."""

    _header_bytes = 0
    _unclaimed = 0
    """Bytes received since anything came of them: a header that never ends grows inside the parser."""
    _header_timer: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        """`limits` are ours, the rest is uvicorn's."""
        super().__init__(*args, **kwargs)
        self._limits = limits
        self.timeout_keep_alive = limits.keep_alive_seconds  # type: ignore[assignment]  # call_later takes both

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection as long for its first byte as an idle one has for its next."""
        super().connection_made(transport)
        self._wait_for_next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers; uvicorn forgets its own only where there was no error."""
        self._stop_waiting()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; whatever came, some timer or some request is in charge of the connection afterwards."""
        self._unclaimed += len(data)
        self._unset_keepalive_if_required()
        self._feed(data)
        if self.transport.is_closing():
            return
        if self._unclaimed > self._limits.header_bytes:
            self._refuse(MalformedRequest(self._too_large))
        elif self._header_timer is None and not self._unanswered:
            self._wait_for_next()

    def on_message_begin(self) -> None:
        """From the first byte on, the headers have their own time."""
        super().on_message_begin()
        self._header_bytes = self._unclaimed = 0
        self._stop_waiting()
        self._header_timer = self.loop.call_later(self._limits.header_seconds, self._too_slow)

    def on_url(self, url: bytes) -> None:
        """Count the request target as part of the headers."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count headers; too many or too long ones end the connection (see `data_received`)."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the application; the body's time is the application's to keep."""
        self._stop_waiting()
        self._unclaimed = 0
        if not self._offers:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unclaimed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of the request."""
        self._unclaimed = 0
        if not self._offers:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, or has more headers than any client needs."""
        too_large = self._header_bytes > self._limits.header_bytes
        self._refuse(MalformedRequest(self._too_large if too_large else msg))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        async def in_one_write(scope: Any, receive: Any, _send: Any) -> None:
            scope["body_complete"] = not cycle.more_body
            await app(scope, receive, _OneWrite(cycle).send)

        super()._start_asgi_task(cycle, in_one_write)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            if self._offers:
                self._feed(self._without_offer() + data[offered.args[0] :])
            else:
                self.cycle.keep_alive = False  # CONNECT: no HTTP follows
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    @property
    def _offers(self) -> bool:
        """Whether this request offers to go on in another protocol."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _without_offer(self) -> bytes:
        """Return the headers just read without the offer of another protocol, and a parser to read them.

        The old one takes all that follows an offer for that protocol, the body too; as a server that does not
        know it may (RFC 9110, 7.8), and as Node does, we go on in HTTP/1.1.
        """
        lines = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name not in (b"connection", b"upgrade"):
                lines += (name, b": ", value, b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        return b"".join([*lines, b"\r\n"])

    @property
    def _too_large(self) -> str:
        return f"The request line and headers are over {self._limits.header_bytes} bytes."

    @property
    def _unanswered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.header_bytes:
            raise ValueError("headers too large")  # httptools turns it into HttpParserCallbackError

    def _wait_for_next(self) -> None:
        """Close the connection if nothing comes; without a word, which would pass for the next one's answer."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self._limits.keep_alive_seconds, self.timeout_keep_alive_handler
        )

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self._refuse(MalformedRequest(f"No complete request within {self._limits.header_seconds:g} s."))

    def _refuse(self, error: RequestError) -> None:
        if self._unanswered and (self.pipeline or not self.cycle.more_body):
            self.cycle.keep_alive = False  # what came before is answered first, and then the connection ends
            return
        answer = of_error(error, "", "")
        lines = [_status_line(answer.status, HTTPStatus(answer.status).phrase)]
        lines += [b"%b: %b\r\n" % header for header in headers_of(answer)]
        self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", answer.body]))
        self.transport.close()


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to `runtime`, since two of them run side by side."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def make_server(app: Any, graceful_seconds: float, limits: Limits | None = None) -> Server:
    """Return a server for the ASGI application `app`; on stop, requests under way have `graceful_seconds`."""
    return Server(
        uvicorn.Config(
            app,
            http=functools.partial(Protocol, limits=limits or Limits()),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(graceful_seconds),
            backlog=BACKLOG,
        )
    )


def bind(address: str) -> socket.socket:
    """Listen on `address`, written `host:port`; port 0 is any that is free.

    Raises:
        SettingError: not of that form, or the address cannot be had.

    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise SettingError(f"{address!r} is no address; write host:port, as 127.0.0.1:8888")
    host = host.strip("[]")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, int(port)))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise SettingError(f"cannot listen on {address}: {error.strerror}") from None
    listening.setblocking(False)
    return listening
