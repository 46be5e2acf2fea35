"""The cluster's listener: a minimal HTTP server for metrics and probes.

Every pod of the cluster can reach it, so it keeps little: for each connection the short head of one request and a few
bytes of the next. Requests for metrics in one turn of the event loop share one answer. Bodies are skipped; malformed
HTTP is refused as by the producers' listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import httptools
from prometheus_client import CONTENT_TYPE_LATEST
from uvicorn.server import ServerState

from sidecar.errors import MalformedRequest, Overloaded, RequestError
from sidecar.intake.answer import of_error, wire
from sidecar.intake.budget import ByteBudget
from sidecar.intake.request import Limits
from sidecar.telemetry.telemetry import Telemetry
from sidecar.timers import Deadline

PATHS = ("/metrics", "/livez", "/readyz")
TEXT = "text/plain; charset=utf-8"
LIMITS = Limits(header_bytes=8 * 1024, connections=256)
"""Prometheus' requests have 300 bytes, and it has few other clients than Prometheus and the kubelet."""
MAX_SKIPPED_BYTES = 64 * 1024
"""Maximum length of a body."""


class _Head:
    """The head of a request, reduced to what is needed here."""

    def __init__(self, data: bytes) -> None:
        """Parse it.

        Raises:
            MalformedRequest: it is not HTTP/1.1, or does not have one Host header.

        """
        self._url = b""
        self._hosts = 0
        self.length = 0
        """Length of the body; -1 if unknown."""
        self.keep_alive = False
        self._parser = parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
            path = (httptools.parse_url(self._url).path or b"").decode("latin-1")
        except httptools.HttpParserUpgrade:  # Upgrade or CONNECT, both declined
            path = self._url.partition(b"?")[0].decode("latin-1")
        except (httptools.HttpParserError, ValueError):
            raise MalformedRequest("Invalid HTTP request received.") from None
        version = parser.get_http_version()
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            raise MalformedRequest("An HTTP/1.1 request needs exactly one Host header.")
        self.method: bytes = parser.get_method()
        self.path = path
        self.keep_alive = self.keep_alive and version == "1.1" and self.method != b"CONNECT"

    def on_url(self, url: bytes) -> None:
        """Append to the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Record Host and the headers that give the length of the body."""
        name = name.lower()
        self._hosts += name == b"host"
        if name == b"content-length" and self.length >= 0:
            self.length = int(value)
        elif name == b"transfer-encoding":
            self.length = -1

    def on_headers_complete(self) -> None:
        """Record whether to keep the connection, which the parser only knows now."""
        self.keep_alive = self._parser.should_keep_alive()


class _Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    kind: str = TEXT


NOT_FOUND = _Answer(HTTPStatus.NOT_FOUND, b"Not Found")
NOT_ALLOWED = _Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"Method Not Allowed")
ALIVE = _Answer(HTTPStatus.OK, b"the event loop turns\n")
READY = _Answer(HTTPStatus.OK, b"ready\n")
STARTING = _Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"starting\n")


class Cluster:
    """The connections of the listener, and their answers."""

    def __init__(
        self, telemetry: Telemetry, ready: Callable[[], bool], budget: ByteBudget, limits: Limits = LIMITS
    ) -> None:
        """`ready` tells whether events can be taken; `budget` limits the bytes held for clients."""
        self.limits = limits
        self._telemetry = telemetry
        self._ready = ready
        self.budget = budget
        self.connections: dict[ClusterConnection, None] = {}
        """An ordered set, the connection idle longest first."""
        self._scraping: list[ClusterConnection] = []

    def connection(self, *, server_state: ServerState, **_: Any) -> ClusterConnection:
        """Create a connection, called by uvicorn."""
        return ClusterConnection(self, server_state)

    def answer(self, head: _Head) -> _Answer | None:
        """Return the answer; None for metrics."""
        if head.path not in PATHS:
            return NOT_FOUND
        if head.method not in (b"GET", b"HEAD"):
            return NOT_ALLOWED
        if head.path == "/metrics":
            return None
        return ALIVE if head.path == "/livez" else READY if self._ready() else STARTING

    def scrape(self, connection: ClusterConnection) -> None:
        """Answer with the metrics in the next turn of the event loop."""
        self._scraping.append(connection)
        if len(self._scraping) == 1:
            asyncio.get_running_loop().call_soon(self._scrape)

    def _scrape(self) -> None:
        answer = _Answer(HTTPStatus.OK, self._telemetry.exposition(), CONTENT_TYPE_LATEST)
        asked, self._scraping = self._scraping, []
        for each in asked:
            each.answer(answer)

    def make_room(self) -> None:
        """Close the connection idle longest if there are too many."""
        if len(self.connections) > self.limits.connections:
            longest = next(iter(self.connections))
            del self.connections[longest]
            longest.close()


class ClusterConnection(asyncio.Protocol):
    """One connection of a client in the cluster."""

    def __init__(self, cluster: Cluster, server_state: ServerState) -> None:
        """Start without data."""
        self._deadline = Deadline(asyncio.get_running_loop(), self._time_is_up)
        self._cluster = cluster
        self._limits = cluster.limits
        self._all: set[Any] = server_state.connections
        self._transport: asyncio.Transport
        self._text = b""
        """Received bytes of an incomplete request, or of one that waits for the previous answer."""
        self._asked: _Head | None = None
        """The request that waits for its answer."""
        self._paused = False
        """Whether the client does not read its answer."""
        self._skip = 0
        """Remaining bytes of a body."""
        self._held = 0
        self._in_head = False
        self._ends = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the first request."""
        self._transport = transport
        self._transport.set_write_buffer_limits(high=0)
        self._all.add(self)
        self._cluster.connections[self] = None
        self._cluster.make_room()
        self._look_ahead()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything held for it."""
        del exc
        self._all.discard(self)
        self._cluster.connections.pop(self, None)
        self._deadline.cancel()
        self._cluster.budget.give(self._held)
        self._held = 0

    def data_received(self, data: bytes) -> None:
        """Answer complete requests."""
        if self._ends:
            return
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._read(self._text + data[skipped:])

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its answer."""
        self._paused = True
        self._transport.pause_reading()
        self._hold(self._text)
        self._deadline.set(self._limits.unread_seconds)

    def resume_writing(self) -> None:
        """Start reading again."""
        self._paused = False
        self._go_on()

    def shutdown(self) -> None:
        """End the connection when it is answered; called by uvicorn at the stop."""
        self._ends = True
        if self._asked is None:
            self._transport.close()

    def close(self) -> None:
        """Close the connection."""
        self._ends = True
        self._transport.close()

    def answer(self, answer: _Answer) -> None:
        """Write the pending answer."""
        head, self._asked = self._asked, None
        if head is None or self._transport.is_closing():
            return
        self._write(head, answer)
        self._go_on()

    def _time_is_up(self) -> None:
        """Refuse, or close, a connection whose deadline has passed."""
        if self._paused:
            self._transport.abort()
        elif self._in_head:
            self._refuse(MalformedRequest(f"No complete request within {self._limits.header_seconds:g} s."))
        else:
            self.close()

    def _go_on(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
            self._read(self._text)

    def _read(self, text: bytes) -> None:
        """Answer the requests in `text`, one after the other, and keep the incomplete rest."""
        asked = 0
        while not self._waits:
            data, end, rest = text.lstrip(b"\r\n").partition(b"\r\n\r\n")
            if not end:
                break
            if asked == self._limits.pipelined:
                self._refuse(MalformedRequest(f"There are more than {self._limits.pipelined} requests in one piece."))
                return
            asked += 1
            text = self._ask(data + end, rest)
        if self._transport.is_closing():
            return
        if len(text) > self._limits.header_bytes:
            if not self._waits:
                most = self._limits.header_bytes
                self._refuse(MalformedRequest(f"The request line and headers are over {most} bytes."))
                return
            self._ends, text = True, b""
        self._hold(text)
        self._look_ahead()

    @property
    def _waits(self) -> bool:
        """Whether reading is suspended."""
        return self._asked is not None or self._paused or self._ends

    def _ask(self, data: bytes, rest: bytes) -> bytes:
        """Answer one request, or queue it; return `rest` without its body."""
        try:
            head = _Head(data)
        except RequestError as error:
            self._refuse(error)
            return b""
        if head.length > MAX_SKIPPED_BYTES or head.length < 0:
            head.keep_alive = False
        skipped = min(max(head.length, 0), len(rest))
        self._skip = max(head.length, 0) - skipped
        answer = self._cluster.answer(head)
        if answer is None:
            self._asked = head
            self._transport.pause_reading()
            self._cluster.scrape(self)
        else:
            self._write(head, answer)
        return rest[skipped:]

    def _write(self, head: _Head, answer: _Answer) -> None:
        ends = self._ends or not head.keep_alive
        lines = [
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
            f"content-length: {len(answer.body)}",
            f"content-type: {answer.kind}",
        ]
        if answer is NOT_ALLOWED:
            lines.append("allow: GET, HEAD")
        if ends:
            lines.append("connection: close")
        body = b"" if head.method == b"HEAD" else answer.body
        self._transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self._cluster.connections.pop(self, None)
        self._cluster.connections[self] = None
        if ends:
            self.close()

    def _refuse(self, error: RequestError) -> None:
        self._ends = True
        if not self._transport.is_closing():
            self._transport.write(wire(of_error(error, "", ""), close=True))
            self._transport.close()

    def _hold(self, text: bytes) -> None:
        """Account for `text` and the unread answer; refuse the request if there is no room."""
        size = len(text) + (self._transport.get_write_buffer_size() if self._paused else 0)
        if size > self._held and not self._cluster.budget.take(size - self._held, small=False):
            if self._paused:
                self._transport.abort()
            else:
                self._refuse(Overloaded(self._cluster.budget.full))
            return
        self._cluster.budget.give(max(self._held - size, 0))
        self._held = size
        self._text = text

    def _look_ahead(self) -> None:
        """Set the deadline for the current state."""
        in_head, self._in_head = self._in_head, bool(self._text) and not self._asked
        if self._paused:
            return
        if self._asked:
            self._deadline.clear()
        elif self._in_head:
            if not in_head:
                self._deadline.set(self._limits.header_seconds)
        else:
            self._deadline.set(self._limits.keep_alive_seconds)
