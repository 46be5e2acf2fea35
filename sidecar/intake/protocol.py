"""uvicorn's HTTP protocol, with what EventGate's clients expect and what slow clients must not break.

- A POST of events goes straight to its `Taker`: no task, no ASGI messages, no coroutine. All else is ASGI.
- The reason phrase: EventGate says in it what became of the events ("All 2 out of 2 events were accepted."),
  aiohttp quotes it, model servers log it. ASGI has no word for it.
- An answer to events leaves in one write, and the answers of one connection in the order of their requests.
- A client that stops sending or reading never holds a connection or memory for good (`Limits`).
- What is not HTTP is refused in EventGate's JSON shape, and never in place of the answer to an earlier request.
"""

from __future__ import annotations

import asyncio
import enum
import math
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sidecar.errors import MalformedRequest, Overloaded, RequestError
from sidecar.intake.answer import Answer, of_error, wire, wire_without_body
from sidecar.intake.request import EventsRequest, Limits, Taker, query_of_events


class _Phase(enum.IntEnum):
    """What a connection waits for."""

    REQUEST = enum.auto()
    HEADERS = enum.auto()
    BODY = enum.auto()
    ANSWER = enum.auto()
    UNREAD = enum.auto()


Idle = dict["Protocol", None]
"""Connections on which nothing was asked when they were last looked at, the one that has been so longest first; an
ordered set."""


class Protocol(HttpToolsProtocol):
    """One connection of a producer."""

    _header_bytes = 0
    _unclaimed = 0
    """Bytes received since anything came of them: a header that never ends grows inside the parser."""
    _in_headers = False
    _unread = 0  # bytes of answers that the client does not read
    _stalled = False  # whether what comes next waits for them to be read
    _messages = 0
    """How many requests have begun."""
    _offers = False
    """Whether this request offers to go on in another protocol."""
    _awaited = _Phase.ANSWER
    _awaited_of = 0  # the message
    _deadline = math.inf
    _timer: asyncio.TimerHandle | None = None
    _rings_at = math.inf

    def __init__(self, *args: Any, limits: Limits, taker: Taker | None, idle: Idle, **kwargs: Any) -> None:
        """`limits`, `taker` and `idle` are ours, the rest is uvicorn's; without a taker all is ASGI."""
        super().__init__(*args, **kwargs)
        self._idle = idle
        self._limits = limits
        self._taker = taker
        self._patience = {
            _Phase.REQUEST: limits.keep_alive_seconds,
            _Phase.HEADERS: limits.header_seconds,
            _Phase.BODY: limits.body_seconds,
            _Phase.UNREAD: limits.unread_seconds,
        }

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection as long for its first byte as an idle one has for its next."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # an answer leaves at once, before it is counted
        if len(self.connections) > self._limits.connections:
            self._make_room()
        self._look_ahead()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer, and tell of the requests that will never be complete."""
        self._idle.pop(self, None)
        self._count_unread(0)
        if self._timer is not None:
            self._timer.cancel()
        for request in (self.cycle, *(cycle for cycle, _ in self.pipeline)):
            if isinstance(request, EventsRequest):
                if not request.response_complete and not request.taken and self._taker is not None:
                    self._taker.gone(request)
                request.response_complete = True
        if isinstance(self.cycle, EventsRequest):
            self.cycle = None  # type: ignore[assignment]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; whatever came, some deadline or some request is in charge of the connection afterwards."""
        self._unclaimed += len(data)
        self._feed(data)
        if self.transport.is_closing():
            return
        if self._unclaimed > self._limits.header_bytes:
            self._refuse(MalformedRequest(self._too_large))
        else:
            self._look_ahead()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what is complete before the connection ends: a client may close its half after its last request.

        One that does so while its answer goes on and on has gone: nobody else closes anything then.
        """
        if not self._unanswered or self.cycle.more_body or getattr(self.cycle, "response_started", False):
            return False
        self.cycle.keep_alive = False
        return True

    # --- what the parser tells ---

    def on_message_begin(self) -> None:
        """Begin anew; what only ASGI needs is made when it is known that ASGI is meant."""
        self.url = b""
        self.headers = []
        self._header_bytes = self._unclaimed = 0
        self._messages += 1
        self._in_headers = True

    def on_url(self, url: bytes) -> None:
        """Count the request target as part of the headers."""
        self._header_bytes += len(url)
        self.url += url
        if self._header_bytes > self._limits.header_bytes:
            raise ValueError("headers too large")  # httptools turns it into HttpParserCallbackError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, as uvicorn does, and count it; too many or too long ones end the connection."""
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.header_bytes:
            raise ValueError("headers too large")
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Hand the request to the taker of events, or to the application."""
        self._in_headers = False
        self._unclaimed = 0
        method = self.parser.get_method()
        self._offers = self.parser.should_upgrade() and method != b"CONNECT"
        if self._offers:
            return
        headers = dict(reversed(self.headers))
        self.expect_100_continue = b"expect" in headers and headers[b"expect"].lower() == b"100-continue"
        query = query_of_events(method, self.url)
        if query is None or self._taker is None:
            self._begin_asgi()
            return
        keep_alive = self.parser.should_keep_alive()
        if keep_alive and b"connection" in headers:
            # A client of HTTP/1.0 may ask for it, but would look for our consent.
            keep_alive = self.parser.get_http_version() != "1.0"
        request = EventsRequest(self.write, self.url, query, headers, keep_alive, self.expect_100_continue)
        earlier_is_answered = not self._unanswered
        self.cycle = request  # type: ignore[assignment]
        self._taker.begins(request)
        if earlier_is_answered:
            if request.waits_for_100_continue:
                self._say_continue(request)
        else:
            request.waits_for_turn = True
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unclaimed = 0
        request = self.cycle
        if not isinstance(request, EventsRequest):
            super().on_body(body)
        elif self._taker is not None and not request.response_complete:
            self._taker.part(request, body)

    def on_message_complete(self) -> None:
        """Take the end of the request."""
        self._unclaimed = 0
        if self._offers:
            return
        request = self.cycle
        if not isinstance(request, EventsRequest):
            super().on_message_complete()
            return
        request.more_body = False
        if not request.waits_for_turn:
            self._take(request)

    # --- requests and their answers, in order ---

    def write(self, answer: Answer, close: bool) -> None:
        """Write the answer to the events that are being answered, and go on to the next request."""
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(wire(answer, close=close) if answer.body else wire_without_body(answer, close=close))
        if close:
            transport.close()
        else:
            self.on_response_complete()

    def on_response_complete(self) -> None:
        """Go on with a request that waited for its turn, or wait for the next one."""
        if self.transport.is_closing():
            return
        self._stalled = self.flow.write_paused
        if self._stalled:
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            # Not at once: thousands of requests may have come in one piece, and each would go a level deeper.
            self.loop.call_soon(self._start_next)
        else:
            self._look_ahead()

    def pause_writing(self) -> None:
        """Read nothing more from a client that does not read its answers, and wait for it for some time only."""
        super().pause_writing()
        self.flow.pause_reading()
        self._count_unread(self.transport.get_write_buffer_size())
        self._look_ahead()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._count_unread(0)
        if self._stalled:
            self.on_response_complete()
        elif not self.pipeline:
            self.flow.resume_reading()
        self._look_ahead()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, or has more headers than any client needs."""
        too_large = self._header_bytes > self._limits.header_bytes
        self._refuse(MalformedRequest(self._too_large if too_large else msg))

    def _start_next(self) -> None:
        if not self.pipeline or self.transport.is_closing():
            return
        cycle, app = self.pipeline.pop()
        if not isinstance(cycle, EventsRequest):
            self._start_asgi_task(cycle, app)
            return
        cycle.waits_for_turn = False
        self._say_continue(cycle)
        if not cycle.more_body:
            self._take(cycle)
        self._look_ahead()

    def _take(self, request: EventsRequest) -> None:
        if self._taker is not None and not request.response_complete:
            request.taken = True
            self._taker.complete(request)

    def _say_continue(self, request: EventsRequest) -> None:
        if request.waits_for_100_continue and request.more_body:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.waits_for_100_continue = False

    def _begin_asgi(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        self.scope["extensions"] = {"eventgate_sidecar": {"abort": self.transport.abort}}
        super().on_headers_complete()

    @property
    def asks_nothing(self) -> bool:
        """Whether no request has come whose headers are complete and that is not answered."""
        return self._phase() in (_Phase.REQUEST, _Phase.HEADERS)

    # --- what is no plain HTTP/1.1 ---

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _parse(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse up to an offer of another protocol, decline it, and return what follows.

        The parser leaves the body to the other protocol. A server may decline (RFC 9110, 7.8), as Node does: a new
        parser reads the headers again, without the offer.
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
            self.cycle.keep_alive = False  # CONNECT: no HTTP follows
        return b""

    @property
    def _too_large(self) -> str:
        return f"The request line and headers are over {self._limits.header_bytes} bytes."

    @property
    def _unanswered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self, error: RequestError) -> None:
        if self._unanswered and (self.pipeline or not self.cycle.more_body):
            self.cycle.keep_alive = False  # what came before is answered first, and then the connection ends
        elif not self.transport.is_closing():
            self.transport.write(wire(of_error(error, "", ""), close=True))
            self.transport.close()

    # --- nothing waits for ever, nor without bound ---

    def _make_room(self) -> None:
        """Close the connection that has asked nothing longest, or refuse this one where all wait for answers."""
        while self._idle:
            longest = next(iter(self._idle))
            del self._idle[longest]
            if longest.asks_nothing:
                longest.transport.close()
                return
        self._refuse(Overloaded(f"{self._limits.connections} connections are in use; try again in a second"))

    def _count_unread(self, size: int) -> None:
        if self._taker is not None and size != self._unread:
            self._taker.unread(size - self._unread)
        self._unread = size

    def _look_ahead(self) -> None:
        """Set the deadline for what comes next; one that runs already is left alone.

        There is none for an answer of ours; what was set for its request is left to ring, see `_ring`.
        """
        phase = self._phase()
        if phase is self._awaited and self._messages == self._awaited_of:
            return
        self._awaited, self._awaited_of = phase, self._messages
        if phase is _Phase.ANSWER:
            return
        self._idle.pop(self, None)
        if phase in (_Phase.REQUEST, _Phase.HEADERS):
            self._idle[self] = None
        self._deadline = self.loop.time() + self._patience[phase]
        if self._deadline < self._rings_at:  # one that rings earlier is left to ring, which is cheaper
            self._set_timer()

    def _phase(self) -> _Phase:
        if self.flow.write_paused:
            return _Phase.UNREAD
        if self._in_headers:
            return _Phase.HEADERS
        request: RequestResponseCycle | EventsRequest | None = self.cycle  # None before the first
        if request is None or request.response_complete:
            return _Phase.REQUEST
        events = isinstance(request, EventsRequest) and request.more_body and not request.waits_for_turn
        return _Phase.BODY if events else _Phase.ANSWER

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = self._deadline
        self._timer = self.loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._rings_at = math.inf
        if self._awaited is _Phase.ANSWER:
            return
        if self._deadline > self.loop.time():
            self._set_timer()
        elif self.flow.write_paused or not self.transport.is_closing():
            self._run_out_of_patience()

    def _run_out_of_patience(self) -> None:
        match self._awaited:
            case _Phase.HEADERS:
                self._refuse(MalformedRequest(f"No complete request within {self._limits.header_seconds:g} s."))
            case _Phase.BODY if self._taker is not None and isinstance(self.cycle, EventsRequest):
                self._taker.too_slow(self.cycle, self._limits.body_seconds)
            case _Phase.REQUEST:
                self.timeout_keep_alive_handler()
            case _Phase.UNREAD:
                self.transport.abort()
