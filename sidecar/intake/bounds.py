"""The limits of a connection: how much it may hold and how long it may take.

Bytes are taken from the `ByteBudget` before they are held. Every wait has a deadline, except for the sidecar's own
answer. Over a limit the connection ends, after earlier requests are answered.
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
"""Memory of a header besides its own bytes."""
ASKED_BYTES = 16 * 1024
"""Memory of an ASGI request besides its own bytes: its task and Starlette's objects."""


class Awaited(enum.IntEnum):
    """What a connection waits for; all but the last have a deadline, in this order in `Bounded._patience`."""

    REQUEST = 0
    HEADERS = 1
    BODY = 2
    UNREAD = 3
    ANSWER = 4


Idle = dict["Bounded", None]
"""An ordered set of the connections without a request when they were last checked, the one idle longest first."""


class Bounded(HttpToolsProtocol):
    """A connection with limits; base class of `protocol.Protocol`."""

    _header_bytes = 0
    _overhead = 0
    """Bytes received that are not data: an endless header grows inside the parser, and chunk extensions may have any
    length."""
    _in_headers = False
    _head_held = 0  # bytes taken from the budget for incomplete headers
    _asked = 0  # for unanswered ASGI requests
    _unread = 0  # for answers that the client has not read
    _refusal: RequestError | None = None
    """Why nothing more is read; earlier requests are still answered."""
    _messages = 0
    """Number of requests begun."""
    _awaited = Awaited.ANSWER
    _awaited_of = 0  # the message
    _client = ""

    def __init__(
        self,
        *args: Any,
        limits: Limits,
        taker: Taker,
        budget: ByteBudget,
        idle: Idle,
        **kwargs: Any,
    ) -> None:
        """`idle` is shared by all connections of the listener; other arguments are uvicorn's."""
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
        """Start the deadline for the first request, the same as for an idle connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # an answer is written at once, before its events are counted
        self._client = self.client[0] if self.client else ""
        self._budget = self._budget.of(self._client)
        self._budget.connections += 1
        if self._budget.connections > self._budget.most_connections:
            words = f"{self._budget.most_connections} connections of {self._client} are in use"
            self._refuse(Overloaded(f"{words}; try again in a second"))
        elif len(self.connections) > self._limits.connections:
            self._make_room()
        self._look_ahead()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back the bytes held, and report the requests that will never be complete."""
        self._idle.pop(self, None)
        self._deadline.cancel()
        self._budget.connections -= 1
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
        """Whether it has no unanswered request with complete headers."""
        return self._phase() in (Awaited.REQUEST, Awaited.HEADERS)

    def _make_room(self) -> None:
        """Close the connection that has been idle longest; if there is none, refuse this one."""
        while self._idle:
            longest = next(iter(self._idle))
            del self._idle[longest]
            if longest.asks_nothing:
                longest.transport.close()
                return
        self._refuse(Overloaded(f"{self._limits.connections} connections are in use; try again in a second"))

    # --- memory ---

    def _hold_head(self, last: int) -> None:
        """Account for incomplete headers; up to `last` bytes of them may be inside the parser."""
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
        """Release what was held for ASGI requests, since all are answered."""
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

    # --- time ---

    def _look_ahead(self) -> None:
        """Set the deadline for the current phase, unless it is set already.

        The sidecar's own answer has none; the previous deadline is left running, see `_time_is_up`.
        """
        phase = self._phase()
        if phase is self._awaited and self._messages == self._awaited_of:
            return
        self._awaited, self._awaited_of = phase, self._messages
        if phase is Awaited.ANSWER:
            return
        self._idle.pop(self, None)
        if phase in (Awaited.REQUEST, Awaited.HEADERS):
            self._idle[self] = None
        self._deadline.set(self._patience[phase])

    def _phase(self) -> Awaited:
        if self.flow.write_paused:
            return Awaited.UNREAD
        if self._in_headers:
            return Awaited.HEADERS
        request: RequestResponseCycle | EventsRequest | None = self.cycle  # None before the first
        if request is None or request.response_complete:
            return Awaited.REQUEST
        events = isinstance(request, EventsRequest) and request.more_body and not request.waits_for_turn
        return Awaited.BODY if events else Awaited.ANSWER

    def _time_is_up(self) -> None:
        """Refuse, or close, a connection whose deadline has passed."""
        if self.transport.is_closing() and not self.flow.write_paused:
            return
        match self._awaited:
            case Awaited.HEADERS:
                self._refuse(MalformedRequest(f"No complete request within {self._limits.header_seconds:g} s."))
            case Awaited.BODY if isinstance(self.cycle, EventsRequest):
                self._taker.too_slow(self.cycle, self._limits.body_seconds)
            case Awaited.REQUEST:
                self.timeout_keep_alive_handler()
            case Awaited.UNREAD:
                self.transport.abort()

    # --- refusals ---

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
        """Refuse the request being parsed, from a parser callback."""
        self._refuse(error)
        raise ValueError(error.detail)  # httptools turns it into HttpParserCallbackError, and stops parsing

    def _refuse(self, error: RequestError) -> None:
        """Stop reading, answer earlier requests, and refuse the incomplete one, unless it has an answer."""
        self._refusal = error
        request: RequestResponseCycle | None = self.cycle
        if self._in_headers or request is None or not request.more_body:
            if request is not None and not request.response_complete:
                request.keep_alive = False
            else:
                self._write_refusal(error)
        elif self.pipeline:
            pass  # the incomplete request is the last one, and is refused when its turn comes
        elif request.response_complete or getattr(request, "response_started", False):
            self.transport.close()
        else:
            self._write_refusal(error)

    def _write_refusal(self, error: RequestError) -> None:
        if not self.transport.is_closing():
            self.transport.write(wire(of_error(error, "", ""), close=True))
            self.transport.close()
