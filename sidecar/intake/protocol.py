"""One connection of the producers' listener: uvicorn's HTTP protocol, changed in these points.

- A POST of events goes straight to its `Taker`: no task, no ASGI messages, no coroutine. Other requests use ASGI.
- Answers have a reason phrase, which ASGI cannot express: EventGate reports there what became of the events ("All 2 out
  of 2 events were accepted."), aiohttp quotes it, and model servers log it.
- An answer to events is one write, and the answers of a connection are in the order of their requests.
- A client that stops sending or reading cannot hold a connection or memory for good (`Limits`). Its memory is taken
  from the `ByteBudget` first.
- Malformed HTTP is refused in EventGate's JSON shape, and never in place of the answer to another request.
"""

from __future__ import annotations

import httptools

from sidecar.errors import MalformedRequest, RequestError
from sidecar.intake.answer import Answer, wire, wire_without_body
from sidecar.intake.bounds import ASKED_BYTES, Awaited, Bounded
from sidecar.intake.plain import TARGET, UNCOUNTED_BYTES, plain_post
from sidecar.intake.request import EventsRequest, query_of_events

SLICE_BYTES = 4 * 1024
"""How much is parsed in one go, and so how much may be inside the parser unnoticed."""
CHUNK_BYTES = 64
"""Counted for each chunk besides its bytes, for its processing time."""


class Protocol(Bounded):
    """One connection of a producer."""

    _offers = False
    """Whether this request offers to switch to another protocol."""
    _stalled = False  # whether the next request waits until answers are read

    def data_received(self, data: bytes) -> None:
        """Parse; afterwards the connection always has a deadline or a request in progress."""
        if self._awaited is Awaited.REQUEST and (plain := plain_post(data)) is not None:  # nearly always
            self._take_plain(len(data) - UNCOUNTED_BYTES, *plain)
            return
        if len(data) <= SLICE_BYTES:  # nearly always
            self._feed(data)
        else:
            rest, before = memoryview(data), self._messages
            while rest and self._refusal is None:
                self._feed(rest[:SLICE_BYTES])
                rest = rest[SLICE_BYTES:]
                if self._messages - before > self._limits.pipelined and self._refusal is None:
                    self._refuse(self._too_many)  # each was answered at once, while other connections wait
        if self.transport.is_closing():
            return
        if self._in_headers or self._head_held:
            self._hold_head(min(len(data), SLICE_BYTES))
        self._look_ahead()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer complete requests before closing: a client may close its half after its last request.

        If that happens during a streamed answer, the client is taken to be gone.
        """
        if not self._unanswered or self.cycle.more_body or getattr(self.cycle, "response_started", False):
            return False
        self.cycle.keep_alive = False
        return True

    def _take_plain(self, size: int, headers: dict[bytes, bytes], body: bytes) -> None:
        """Take a request that is all there: the parser, which is between two requests, need not see it."""
        self._messages += 1
        self._overhead = 0
        request = EventsRequest(
            self.write, TARGET, b"", headers, size - len(body), True, False, self._budget, self._client
        )
        self.cycle = request  # type: ignore[assignment]
        self._taker.begins(request)
        if body:
            self._taker.part(request, body)
        request.more_body = False
        self._take(request)
        if not request.response_complete:  # as `_look_ahead` would find
            self._awaited, self._awaited_of = Awaited.ANSWER, self._messages

    # --- called by the parser ---

    def on_message_begin(self) -> None:
        """Start a request; what only ASGI needs is created later, if it is needed."""
        self.url = b""
        self.headers = []
        self._header_bytes = self._overhead = 0
        self._messages += 1
        self._in_headers = True

    def on_url(self, url: bytes) -> None:
        """Count the request target as part of the headers."""
        self._header_bytes += len(url)
        self.url += url
        if self._header_bytes > self._limits.header_bytes:
            self._fail(self._too_large)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header, as uvicorn does, and count its bytes; too many end the connection."""
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.header_bytes:
            self._fail(self._too_large)
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Pass the request to the taker or to the ASGI application."""
        method = self.parser.get_method()
        self._offers = self.parser.should_upgrade() and method != b"CONNECT"
        if self._offers:
            return
        headers = dict(self.headers)
        waits = self._unanswered
        if waits or not len(self.headers) == len(headers) <= self._limits.headers or b"host" not in headers:
            self._check(headers)
            headers = dict(reversed(self.headers))  # the first of duplicates counts
        self.expect_100_continue = b"expect" in headers and headers[b"expect"].lower() == b"100-continue"
        query = query_of_events(method, self.url)
        if query is None:
            self._begin_asgi()
        else:
            self._begin_events(query, headers, waits)
        self.url, self.headers = b"", []
        self._in_headers = False
        self._overhead = 0

    def on_chunk_header(self) -> None:
        """Count a chunk: many tiny ones take as long as a large body, and no producer sends them."""
        self._overhead += CHUNK_BYTES

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        overhead = self._overhead - 3 * len(body)
        self._overhead = overhead if overhead > 0 else 0  # noqa: FURB136  half the time of max()
        request = self.cycle
        if isinstance(request, EventsRequest):
            if not request.response_complete:
                self._taker.part(request, body)
        elif not request.response_complete:
            self._hold_asked(len(body))
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._overhead = 0
        if self._offers:
            return
        request = self.cycle
        if isinstance(request, EventsRequest):
            request.more_body = False
            if not request.waits_for_turn:
                self._take(request)
        else:
            super().on_message_complete()
            request.more_body = False

    # --- requests and their answers, in order ---

    def write(self, answer: Answer, close: bool) -> None:
        """Write the answer to the current POST of events, and go on to the next request."""
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(wire(answer, close) if answer.body else wire_without_body(answer, close))
        if close:
            transport.close()
        else:
            self.on_response_complete()

    def on_response_complete(self) -> None:
        """Start a waiting request, or wait for the next one."""
        if self.transport.is_closing():
            return
        if self._asked and not self.pipeline:
            self._forget_asked()
        self._stalled = self.flow.write_paused
        if self._stalled:
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            # Not at once, since requests that are answered at once would recurse.
            self.loop.call_soon(self._start_next)
        else:
            self._look_ahead()

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its answers, and set a deadline."""
        super().pause_writing()
        self.flow.pause_reading()
        self._count_unread(self.transport.get_write_buffer_size())
        self._look_ahead()

    def resume_writing(self) -> None:
        """Start reading again."""
        super().resume_writing()
        self._count_unread(0)
        if self._stalled:
            self.on_response_complete()
        elif not self.pipeline:
            self.flow.resume_reading()
        self._look_ahead()

    def _start_next(self) -> None:
        if not self.pipeline or self.transport.is_closing():
            return
        cycle, app = self.pipeline.pop()
        if self._refusal is not None and cycle.more_body:
            self._write_refusal(self._refusal)
            return
        if not isinstance(cycle, EventsRequest):
            self._start_asgi_task(cycle, app)
            return
        cycle.waits_for_turn = False
        self._say_continue(cycle)
        if not cycle.more_body:
            self._take(cycle)
        self._look_ahead()

    def _take(self, request: EventsRequest) -> None:
        if not request.response_complete:
            request.taken = True
            self._taker.complete(request)

    def _say_continue(self, request: EventsRequest) -> None:
        if request.waits_for_100_continue and request.more_body:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.waits_for_100_continue = False

    def _check(self, headers: dict[bytes, bytes]) -> None:
        """Refuse a request with too many headers, no or several Host headers (RFC 9112, 3.2), or too many before it."""
        if len(self.headers) > self._limits.headers:
            self._fail(self._too_large)
        if b"host" not in headers and self.parser.get_http_version() == "1.1":
            self._fail(MalformedRequest("An HTTP/1.1 request needs a Host header."))
        if len(headers) != len(self.headers) and [name for name, _ in self.headers].count(b"host") > 1:
            self._fail(MalformedRequest("The request has more than one Host header."))
        if self._unanswered and len(self.pipeline) >= self._limits.pipelined - 1:
            self._fail(self._too_many)

    @property
    def _too_many(self) -> RequestError:
        return MalformedRequest(f"More than {self._limits.pipelined} requests came before their answers were read.")

    def _begin_events(self, query: bytes, headers: dict[bytes, bytes], waits: bool) -> None:
        keep_alive = self.parser.should_keep_alive()
        if keep_alive and b"connection" in headers:
            # An HTTP/1.0 client may ask for it, but would expect a header in the answer.
            keep_alive = self.parser.get_http_version() != "1.0"
        request = EventsRequest(
            self.write,
            self.url,
            query,
            headers,
            self._header_bytes,
            keep_alive,
            self.expect_100_continue,
            self._budget,
            self._client,
            waits,
        )
        self.cycle = request  # type: ignore[assignment]
        self._taker.begins(request)
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        elif request.waits_for_100_continue:
            self._say_continue(request)

    def _begin_asgi(self) -> None:
        self._hold_asked(ASKED_BYTES + self._header_bytes)
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        self.scope["extensions"] = {"eventgate_sidecar": {"abort": self.transport.abort}}
        super().on_headers_complete()

    # --- malformed HTTP, and other protocols ---

    def _feed(self, data: bytes | memoryview) -> None:
        if self._refusal is not None:
            return
        self._overhead += len(data)
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            if self._refusal is None:
                self._refuse(MalformedRequest("Invalid HTTP request received."))
        else:
            if self._overhead > self._limits.header_bytes or len(self.headers) > self._limits.headers:
                self._refuse(self._too_large)

    def _parse(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse up to an Upgrade request, decline the upgrade, and return the rest.

        The parser would leave the body to the other protocol. A server may decline (RFC 9110, 7.8), as Node does: a new
        parser reads the headers again, without Upgrade.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._offers:
                old, self.parser = self.parser, httptools.HttpRequestParser(self)
                lines = [b"%s %s HTTP/%s" % (old.get_method(), self.url, old.get_http_version().encode())]
                lines += [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
                self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
                return memoryview(data)[upgrade.args[0] :]
            self.cycle.keep_alive = False  # CONNECT: what follows is not HTTP
        return b""
