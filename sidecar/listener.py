"""uvicorn's HTTP protocol, with what EventGate's clients expect and slow clients must not break.

- The reason phrase: EventGate says in it what became of the events ("All 2 out of 2 events were accepted."),
  aiohttp quotes it, model servers log it. ASGI has no word for it, so an application may put a key `reason`
  into `http.response.start`; other servers ignore that key.
- An answer leaves in one write.
- Headers must arrive within `HEADER_SECONDS` and are at most `MAX_HEADER_BYTES`; uvicorn bounds neither.
- A request that is no HTTP is refused in EventGate's JSON shape.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sidecar.errors import MalformedRequest, RequestError, SettingError
from sidecar.results import Answer, of_error

HEADER_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 90.0
"""aiohttp reuses an idle connection for 15 s and never repeats a POST on one that we closed just then."""
MAX_HEADER_BYTES = 64 * 1024
BACKLOG = 2048

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
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection as long for its first byte as an idle one has for its next."""
        super().connection_made(transport)
        self._wait_for_headers(KEEP_ALIVE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """From the first byte on, the headers have their own time."""
        super().on_message_begin()
        self._header_bytes = 0
        self._wait_for_headers(HEADER_SECONDS)

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
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, or has more headers than any client needs."""
        words = msg
        if self._header_bytes > MAX_HEADER_BYTES:
            words = f"The request line and headers are over {MAX_HEADER_BYTES} bytes."
        self._refuse(MalformedRequest(words))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        async def in_one_write(scope: Any, receive: Any, _send: Any) -> None:
            await app(scope, receive, _OneWrite(cycle).send)

        super()._start_asgi_task(cycle, in_one_write)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("headers too large")  # httptools turns it into HttpParserCallbackError

    def _wait_for_headers(self, seconds: float) -> None:
        self._stop_waiting()
        self._header_timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self._refuse(MalformedRequest(f"No complete request within {HEADER_SECONDS:g} s."))

    def _refuse(self, error: RequestError) -> None:
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


def make_server(app: Any, graceful_seconds: float) -> Server:
    """Return a server for the ASGI application `app`; on stop, requests under way have `graceful_seconds`."""
    return Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(KEEP_ALIVE_SECONDS),
            timeout_graceful_shutdown=max(1, round(graceful_seconds)),
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
