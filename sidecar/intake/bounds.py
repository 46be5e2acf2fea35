"""What a connection may hold and how long it may take: the part of `protocol` that knows each bound.

Bytes are taken from the `ByteBudget` before they are held. Nothing is waited for without a deadline but our own answer.
Over a bound the connection ends, once what came before is answered.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Any, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sidecar.errors import BodyTooLarge, MalformedRequest, Overloaded, RequestError
from sidecar.intake.answer import of_error, wire
from sidecar.intake.budget import SMALL_BYTES, SMALL_HEAD_BYTES, ByteBudget
from sidecar.intake.request import EventsRequest, Limits, Taker
from sidecar.timers import Deadline

HEADER_BYTES = 128
"""What a header takes beside its own bytes."""
ASKED_BYTES = 16 * 1024
"""What a request that is not of events takes beside its own bytes: its task, and what Starlette makes of it."""


class _Phase(enum.IntEnum):
    """What a connection waits for; all but the last has a deadline, in this order in `Bounded._patience`."""

    REQUEST = 0
    HEADERS = 1
    BODY = 2
    UNREAD = 3
    ANSWER = 4


Idle = dict["Bounded", None]
"""Connections on which nothing was asked when they were last looked at, the one that has been so longest first; an
ordered set."""


class Bounded(HttpToolsProtocol):
    """A connection within its bounds; `protocol.Protocol` reads from it."""

    _header_bytes = 0
    _overhead = 0
    """Bytes received of which nothing came: a header that never ends grows inside the parser, and a chunk may have
    extensions of any length."""
    _in_headers = False
    _head_held = 0  # bytes taken from the budget for headers that are not complete
    _asked = 0  # and for requests to the application that are not answered
    _unread = 0  # and for answers that the client does not read
    _refusal: RequestError | None = None
    """Why nothing more is read; what came before is still answered."""
    _messages = 0
    """How many requests have begun."""
    _awaited = _Phase.ANSWER
    _awaited_of = 0  # the message

    def __init__(
        self,
        *args: Any,
        limits: Limits,
        taker: Taker,
        budget: ByteBudget,
        idle: Idle,
        **kwargs: Any,
    ) -> None:
        """`idle` is that of all connections of the listener; what is not named here is uvicorn's."""
        super().__init__(*args, **kwargs)
        self.headers = []
        self._budget = budget
        self._idle = idle
        self._deadline = Deadline(self.loop, self._time_is_up)
        self._limits = limits
        self._taker = taker
        self._patience = (
            limits.keep_alive_seconds,
            limits.header_seconds,
            limits.body_seconds,
            limits.unread_seconds,
        )

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection as long for its first byte as an idle one has for its next."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # an answer leaves at once, before it is counted
        if len(self.connections) > self._limits.connections:
            self._make_room()
        self._look_ahead()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what was held, and tell of the requests that will never be complete."""
        self._idle.pop(self, None)
        self._deadline.cancel()
        self._budget.give(self._head_held + self._asked + self._unread)
        self._head_held = self._asked = self._unread = 0
        for request in (self.cycle, *(cycle for cycle, _ in self.pipeline)):
            if isinstance(request, EventsRequest):
                if not request.response_complete and not request.taken:
                    self._taker.gone(request)
                request.response_complete = True
        if isinstance(self.cycle, EventsRequest):
            self.cycle = None  # type: ignore[assignment]
        super().connection_lost(exc)

    @property
    def asks_nothing(self) -> bool:
        """Whether no request has come whose headers are complete and that is not answered."""
        return self._phase() in (_Phase.REQUEST, _Phase.HEADERS)

    def _make_room(self) -> None:
        """Close the connection that has asked nothing longest, or refuse this one where all wait for answers."""
        while self._idle:
            longest = next(iter(self._idle))
            del self._idle[longest]
            if longest.asks_nothing:
                longest.transport.close()
                return
        self._refuse(Overloaded(f"{self._limits.connections} connections are in use; try again in a second"))

    # --- what is held ---

    def _hold_head(self, last: int) -> None:
        """Hold the headers that are not complete; up to `last` bytes of them may be inside the parser."""
        size = 0
        if self._in_headers:
            size = self._header_bytes + HEADER_BYTES * len(self.headers) + max(self._overhead, last)
        more = size - self._head_held
        if more > 0 and not self._budget.take(more, small=size <= SMALL_HEAD_BYTES):
            self._refuse(Overloaded(self._budget.full))
            return
        self._budget.give(max(-more, 0))
        self._head_held = size

    def _hold_asked(self, size: int) -> None:
        if self._asked + size > self._limits.asked_bytes:
            self._fail(BodyTooLarge("request entity too large"))
        if not self._budget.take(size, small=False):
            self._fail(Overloaded(self._budget.full))
        self._asked += size

    def _forget_asked(self) -> None:
        """Hold nothing of requests to the application any more: all are answered."""
        self._budget.give(self._asked)
        self._asked = 0
        self.scope = {}  # type: ignore[typeddict-item]
        if not isinstance(self.cycle, EventsRequest):
            self.cycle.scope = self.scope

    def _count_unread(self, size: int) -> None:
        more = size - self._unread
        if more > 0 and not self._budget.take(more, small=size <= SMALL_BYTES):
            self.transport.abort()
            return
        self._budget.give(max(-more, 0))
        self._unread = size

    # --- what is waited for ---

    def _look_ahead(self) -> None:
        """Set the deadline for what comes next; one that runs already is left alone.

        There is none for an answer of ours; what was set for its request is left to ring, see `_time_is_up`.
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
        self._deadline.set(self._patience[phase])

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

    def _time_is_up(self) -> None:
        """Do what is to be done when nothing more came, or when the client did not read."""
        if self.transport.is_closing() and not self.flow.write_paused:
            return
        match self._awaited:
            case _Phase.HEADERS:
                self._refuse(MalformedRequest(f"No complete request within {self._limits.header_seconds:g} s."))
            case _Phase.BODY if isinstance(self.cycle, EventsRequest):
                self._taker.too_slow(self.cycle, self._limits.body_seconds)
            case _Phase.REQUEST:
                self.timeout_keep_alive_handler()
            case _Phase.UNREAD:
                self.transport.abort()

    # --- what is refused ---

    @property
    def _too_large(self) -> RequestError:
        if len(self.headers) > self._limits.headers:
            return MalformedRequest(f"There are more than {self._limits.headers} headers.")
        if self._in_headers:
            return MalformedRequest(f"The request line and headers are over {self._limits.header_bytes} bytes.")
        return MalformedRequest(
            f"Over {self._limits.header_bytes} bytes of the body are not data: send larger chunks, or no extensions."
        )

    @property
    def _unanswered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _fail(self, error: RequestError) -> NoReturn:
        """Refuse what is being parsed, from inside the parser."""
        self._refuse(error)
        raise ValueError(error.detail)  # httptools turns it into HttpParserCallbackError, and parses no further

    def _refuse(self, error: RequestError) -> None:
        """Read nothing more, answer what came before, and refuse what is not complete, unless it has an answer."""
        self._refusal = error
        request: RequestResponseCycle | None = self.cycle
        if self._in_headers or request is None or not request.more_body:
            if request is not None and not request.response_complete:
                request.keep_alive = False
            else:
                self._write_refusal(error)
        elif self.pipeline:
            pass  # it is the last of them, and is refused when its turn comes
        elif request.response_complete or getattr(request, "response_started", False):
            self.transport.close()
        else:
            self._write_refusal(error)

    def _write_refusal(self, error: RequestError) -> None:
        if not self.transport.is_closing():
            self.transport.write(wire(of_error(error, "", ""), close=True))
            self.transport.close()
