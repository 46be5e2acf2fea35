"""`POST /v1/events`: collects the bodies of requests within their limits, and answers every request once.

Events come straight from the listener. All other paths are in `status.http`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol as Interface
from urllib.parse import parse_qs

from sidecar.errors import BodyTooLarge, Forbidden, MalformedBody, Overloaded, RequestError, SlowBody
from sidecar.events.outgoing import HAND_OVER, LABELS, PASSED_ON
from sidecar.events.results import BUG
from sidecar.intake.answer import Answer, of_error, of_hand_over
from sidecar.intake.body import MAX_BODY_BYTES, decoded
from sidecar.intake.budget import SMALL_BYTES, SMALL_HEAD_BYTES, ByteBudget
from sidecar.intake.intake import Intake, Post
from sidecar.intake.origins import Origins
from sidecar.intake.request import EventsRequest
from sidecar.telemetry.contained import unexpected
from sidecar.telemetry.happenings import Happening, RequestAnswered, RequestRefused
from sidecar.telemetry.telemetry import Telemetry

MAX_DRAINED_BYTES = 8 * MAX_BODY_BYTES
"""How much of a body that is too large is read and dropped, so that its sender can read the refusal."""
MAX_REQUESTS = 1024
"""Requests in flight."""
_PASSED_ON = tuple((name.encode(), name) for name in PASSED_ON)


HANDED_OVER = HAND_OVER.encode()
MAX_SAID_BYTES = 64 * 1024
"""Size of the data of an event in a hand-over, besides its bytes."""


class SpoolTaker(Interface):
    """Takes hand-overs; implemented by `spool.handover.TakeOver`."""

    def take(self, body: bytes, labels: str, done: Callable[[int, str], None]) -> Iterator[None]:
        """Store a hand-over in parts; `done` is called with the number of durable events, or the reason for none."""


class RequestTrace(Interface):
    """Traces one request; implemented in `serve.tracing`."""

    def emit(self, happening: Happening) -> None:
        """Record and pass on a happening; the outcomes of the events come right after the answer."""

    def answered(self, answer: Answer) -> None:
        """Record the answer."""

    def gone(self) -> None:
        """Record that the client disconnected."""


class EventsEndpoint:
    """`POST /v1/events`: the `Taker` of the producers' listener."""

    def __init__(
        self,
        intake: Intake,
        telemetry: Telemetry,
        budget: ByteBudget,
        follow: Callable[[EventsRequest], RequestTrace | None] | None = None,
        max_requests: int = MAX_REQUESTS,
        taking: tuple[Origins, SpoolTaker] | None = None,
    ) -> None:
        """`intake` takes the complete bodies; `follow` returns the trace of a request, and may change its headers.

        `taking`: the networks that may hand over a spool, and what takes it; None: this is not a gateway.
        """
        self.intake = intake
        self._budget = budget
        self._max_requests = max_requests
        self.in_flight = 0
        self.last_active = 0.0
        """Monotonic time at which the last request ended; `runtime` waits for quiet when it stops."""
        self._telemetry = telemetry
        self._follow = follow
        self._taking = taking
        self._large: deque[EventsRequest] = deque()
        """Complete large requests, taken one at a time; at most as many as requests in flight."""
        self._parts: Iterator[None] | None = None
        """The remaining parts of the first of them."""

    def begins(self, request: EventsRequest) -> None:
        """Decide by the headers whether to refuse the request.

        The body of a refused request is read and dropped, since its sender reads the answer only afterwards.
        """
        if self._follow is not None:
            request.trace = self._follow(request)
        self.in_flight += 1
        if self.in_flight > self._max_requests:
            request.refusal = Overloaded(
                f"{self._max_requests} requests are being answered already; try again in a second"
            )
        elif request.budget.take(request.head_bytes, small=request.head_bytes <= SMALL_HEAD_BYTES):
            request.held = request.head_bytes
            length = request.headers.get(b"content-length", b"")
            if len(length) > 4 and max(SMALL_BYTES, request.budget.room) < _announced(length) <= MAX_BODY_BYTES:
                self._drop(request, Overloaded(request.budget.full))  # not for small bodies, which arrive at once
        else:
            self._drop(request, Overloaded(request.budget.full))

    def part(self, request: EventsRequest, chunk: bytes) -> None:
        """Keep a part of the body, within the limits."""
        size = len(chunk)
        received = request.received + size
        request.received = received
        if size == received <= SMALL_BYTES and request.refusal is None and request.budget.take(size, small=True):
            request.collected = chunk  # usually the whole body
            request.held += size
        elif received > MAX_DRAINED_BYTES:
            self._refuse(request, request.refusal or BodyTooLarge("request entity too large"))
        elif request.refusal is not None:
            return
        elif received > MAX_BODY_BYTES + (MAX_SAID_BYTES if self._is_handed_over(request) else 0):
            self._drop(request, BodyTooLarge("request entity too large"))
        elif request.budget.take(size, small=received <= SMALL_BYTES):
            if isinstance(request.collected, bytes):
                request.collected = bytearray(request.collected)
            request.collected += chunk
            request.held += size
        else:
            self._drop(request, Overloaded(request.budget.full))

    def complete(self, request: EventsRequest) -> None:
        """Take the request, a large one in its turn; whatever happens, it is answered."""
        request.complete_at = time.monotonic()
        if request.refusal is not None:
            self._refuse(request, request.refusal)
        elif request.received <= SMALL_BYTES and not request.headers.get(b"content-encoding"):
            parts = self._take(request)
            while parts is not None and self._go_on(request, parts):
                pass  # small: done at once
        else:
            self._large.append(request)
            if len(self._large) == 1:
                asyncio.get_running_loop().call_soon(self._take_large)

    def _take_large(self) -> None:
        """Take a large body, or a part of its events, then let the loop serve others before the next."""
        request = self._large[0]
        if self._parts is None:
            self._parts = self._take(request)
        elif not self._go_on(request, self._parts):
            self._parts = None
        if self._parts is None:
            self._large.popleft()
        if self._large:
            asyncio.get_running_loop().call_soon(self._take_large)

    def _is_handed_over(self, request: EventsRequest) -> bool:
        return self._taking is not None and request.headers.get(b"content-type") == HANDED_OVER

    def _take(self, request: EventsRequest) -> Iterator[None] | None:
        try:
            if self._is_handed_over(request):
                return self._take_over(request)
            return self.intake.take(self._post(request), functools.partial(self._answer, request), self._emit(request))
        except RequestError as error:
            self._refuse(request, error)
        except Exception as error:  # noqa: BLE001  the producer must get an answer in spite of a bug
            self._answer_bug(request, error)
        return None

    def _take_over(self, request: EventsRequest) -> Iterator[None]:
        """Take a hand-over.

        Raises:
            Forbidden: its network is not trusted.

        """
        assert self._taking is not None  # noqa: S101
        origins, taking = self._taking
        if not origins.believes(request.client):
            raise Forbidden(
                f"{request.client} may not hand over: it is in no network of --hand-over-from, so its labels are not "
                "believed"
            )
        labels = request.headers.get(LABELS.encode(), b"").decode("latin-1")
        body, request.collected = bytes(request.collected), b""

        def done(events: int, why_not: str) -> None:
            self._answer(request, of_hand_over(events) if events else of_error(Overloaded(why_not), "POST", ""))

        return taking.take(body, labels, done)

    def _go_on(self, request: EventsRequest, parts: Iterator[None]) -> bool:
        """Run one part; return whether there are more."""
        try:
            next(parts)
        except StopIteration:
            return False
        except RequestError as error:
            self._refuse(request, error)
            return False
        except Exception as error:  # noqa: BLE001  as above
            self._answer_bug(request, error)
            return False
        return True

    def _answer_bug(self, request: EventsRequest, error: Exception) -> None:
        self._telemetry.emit(unexpected("intake", error))
        self._answer(request, _of_error(RequestError(BUG), request))

    def too_slow(self, request: EventsRequest, seconds: float) -> None:
        """Refuse a request whose body is incomplete."""
        self._refuse(request, request.refusal or SlowBody(f"the body was not complete within {seconds:g} s"))

    def gone(self, request: EventsRequest) -> None:
        """Drop a request whose client disconnected."""
        self._forget(request)
        self._end()
        if request.trace is not None:
            request.trace.gone()

    @property
    def bytes_in_flight(self) -> int:
        """Bytes held for clients."""
        return self._budget.held

    def _drop(self, request: EventsRequest, refusal: RequestError) -> None:
        """Drop the body; the request is refused when it is complete."""
        request.refusal = refusal
        request.headers = {}
        self._forget(request)

    def _forget(self, request: EventsRequest) -> None:
        request.collected = b""
        if request.held:
            request.budget.give(request.held)
            request.held = 0

    def _post(self, request: EventsRequest) -> Post:
        """Decode the body and collect the headers to pass on.

        Raises:
            RequestError: it cannot be decoded, or is too large then.

        """
        headers = request.headers
        passed_on = tuple([(text, headers[name].decode("latin-1")) for name, text in _PASSED_ON if name in headers])
        body = bytes(request.collected)
        request.collected = b""
        kind = headers.get(b"content-type", b"").decode("latin-1")
        encoding = headers.get(b"content-encoding", b"").decode("latin-1")
        limit = self._may_become(request) if encoding else MAX_BODY_BYTES
        try:
            body = decoded(body, kind, encoding, limit)
        except BodyTooLarge:
            if limit == MAX_BODY_BYTES:
                raise
            raise Overloaded(request.budget.full) from None
        if len(body) != request.received:  # there is room for it, see `_may_become`
            request.budget.give(request.received - len(body))
            request.held += len(body) - request.received
        return Post(body, bool(request.query) and _is_hasty(request.query), passed_on)

    def _may_become(self, request: EventsRequest) -> int:
        """Return the maximum size of the decompressed body."""
        return min(MAX_BODY_BYTES, request.received + max(request.budget.room, 0))

    def _refuse(self, request: EventsRequest, error: RequestError) -> None:
        answer = _of_error(error, request)
        detail = "" if isinstance(error, MalformedBody) else error.detail  # it quotes the body
        self._emit(request)(RequestRefused(answer.status, error.title, detail))
        self._answer(request, answer)

    def _answer(self, request: EventsRequest, answer: Answer) -> None:
        whole = request.complete_at
        self._forget(request)  # makes room in the budget for the answer
        request.answer(answer, close=not whole)  # first, since the producer waits
        self._end()
        self._telemetry.emit(RequestAnswered(answer.status, self.last_active - whole if whole else 0.0))
        if request.trace is not None:
            request.trace.answered(answer)

    def _emit(self, request: EventsRequest) -> Callable[[Happening], None]:
        """Return the function that takes the happenings of a request."""
        trace: RequestTrace | None = request.trace
        return self._telemetry.emit if trace is None else trace.emit

    def _end(self) -> None:
        self.in_flight -= 1
        self.last_active = time.monotonic()


def _announced(length: bytes) -> int:
    return int(length) if length.isdigit() else 0


def _of_error(error: RequestError, request: EventsRequest) -> Answer:
    return of_error(error, "POST", request.target.decode("latin-1"))


def _is_hasty(query: bytes) -> bool:
    return any(parse_qs(query.decode("latin-1")).get("hasty", ()))
