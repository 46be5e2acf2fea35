"""When the spool is sent again, how much at once, and what an answer means for a spooled event.

Until the first success one event goes out alone: while nothing answers, that is all that can be doubled. Then
batches grow, and after that more of them go side by side. Any failure begins again at one. Between failures it
waits with full jitter (Amazon's "Exponential Backoff And Jitter"), so that a thousand sidecars do not come at once.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from sidecar.errors import RequestError
from sidecar.events.event import Event, parse
from sidecar.events.results import EventStatus, context_of
from sidecar.routes.routing import Router
from sidecar.spool.ordering import key_of
from sidecar.spool.record import MAX_SET_BACK_SECONDS, Spooled

MAX_BACKOFF_SECONDS = 60.0
MIN_BACKOFF_SECONDS = 0.1
"""Chance alone could say none, many times in a row."""
MAX_EVENTS = 128
MAX_BYTES = 1024 * 1024
MAX_BATCHES = 4
"""Batches side by side; live traffic comes first."""
MAX_POSTS = 32
"""POSTs side by side, of events that failed before and go alone."""
MAX_REST_SECONDS = 1.0
"""While live traffic is pressing, so much time passes between two batches: the spool still has to become empty."""
IDLE_SECONDS = 1.0
"""How long to wait where events wait, and none of them may be sent yet."""
MAX_ERRORS = 20
"""So many failures of one event, while others are taken, make it a dead letter: after half an hour or so."""
MAX_AWAY_SECONDS = 3600.0
"""Of the time between two processes so much counts for the age of events, at most."""
MAX_VERDICT_BYTES = 4096
"""Of what EventGate said of a dead letter."""


def backoff(failures: int, chance: float) -> float:
    """Return how long to wait after so many failures in a row; `chance` is from 0 to 1."""
    most = min(MAX_BACKOFF_SECONDS, 2.0 ** min(failures, 10) / 2)
    return max(MIN_BACKOFF_SECONDS, chance * most)


class SpoolClock:
    """Seconds of the wall clock that only time moves: what steps the wall clock ages no event and stops no replay.

    It begins with the wall clock and goes on with a steady one. Where events wait from before, it begins at the newest
    time in the file, or up to `MAX_AWAY_SECONDS` later: a wall clock that says more may be wrong. While nothing waits,
    it is set by the wall clock again.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        """Take the time of now; `steady` never steps."""
        self._wall, self._steady = wall, steady
        self.set()

    def now(self) -> float:
        """Return the time."""
        return self._offset + self._steady()

    def set(self) -> None:
        """Take the time of the wall clock."""
        self._offset = self._wall() - self._steady()

    def begin_after(self, newest: float) -> None:
        """Begin at the newest time in a file, or a while later."""
        self._offset += min(max(self.now(), newest), newest + MAX_AWAY_SECONDS) - self.now()


@dataclass(frozen=True, slots=True)
class Window:
    """How much of the spool goes out at once."""

    events: int = 1
    """In a batch."""
    batches: int = 1
    """Side by side."""
    failures: int = 0
    """In a row."""

    def after_success(self) -> Window:
        """Grow: first the batches, then their number."""
        if self.events < MAX_EVENTS:
            return Window(min(self.events * 2, MAX_EVENTS))
        return Window(MAX_EVENTS, min(self.batches + 1, MAX_BATCHES))

    def after_failure(self) -> Window:
        """Begin again with one event."""
        return Window(failures=self.failures + 1)


class Fate(enum.Enum):
    """What an attempt means for a spooled event."""

    DELIVERED = "delivered"
    DEAD = "dead"
    """It becomes a dead letter."""
    ERROR = "error"
    """EventGate met an error with this event, and takes others: that counts against it."""
    FAILED = "failed"
    """No endpoint took it, or EventGate has errors for all: it is not the event's fault."""


def fate(event: Spooled, status: EventStatus, last_taken: float | None, *, alone: bool) -> Fate:
    """Say what `status` means for `event`; `last_taken` is when its upstream last took any event, live or not.

    A failure counts against an event only where another was taken since its last attempt: while Kafka is down,
    EventGate has an error for every event, and none of them is to blame. Where there was no verdict (the connection
    was cut, a proxy answered, nobody did) the event must also have been sent alone, and not for the first time.
    """
    if status.status == "success":
        return Fate.DELIVERED
    if status.status == "invalid":
        return Fate.DEAD
    if status.unreachable and (event.last_attempt is None or not alone):
        return Fate.FAILED
    if last_taken is None or last_taken < (event.last_attempt or event.first_seen):
        return Fate.FAILED
    return Fate.DEAD if event.errors + 1 >= MAX_ERRORS else Fate.ERROR


def set_back(errors: int, status: EventStatus, pause: float) -> float:
    """Return for how long others go before an event that failed, in seconds; `errors` were its own fault.

    Its upstream rests for `pause` first: without a fault of its own the event is behind all that were not tried when
    the next attempt is made, and no later.
    """
    if errors:
        return min(MAX_SET_BACK_SECONDS, 2.0**errors)
    return pause + IDLE_SECONDS if status.unreachable else MAX_SET_BACK_SECONDS


def verdict(status: EventStatus) -> bytes:
    """Return what EventGate said of an event that it did not take, as JSON without the event; cut where it is long."""
    found = context_of(status, msgspec.Raw)
    if found is None:
        return b""
    context = bytes(found)
    if len(context) > MAX_VERDICT_BYTES:
        context = msgspec.json.encode(context[:MAX_VERDICT_BYTES].decode(errors="replace") + "…")
    return b'{"status":"%b","context":%b}' % (status.status.encode(), context)


def reroute(event: Spooled, router: Router) -> Spooled | str:
    """Return an event as it is sent under the configuration of `router`, or why it is not sent.

    It is routed from the stream it came with. A file of an older version does not have that: such an event stays as it
    is where its upstream still accepts it.
    """
    try:
        return _rerouted(event, router)
    except RequestError as error:  # the place of its stream cannot be found: too many others look alike
        return error.detail


def _rerouted(event: Spooled, router: Router) -> Spooled | str:
    try:
        (parsed,) = parse(event.body)
    except (RequestError, ValueError):  # a member of an array that is no object
        parsed = Event(0, event.body)
    if event.came_as is None:
        if event.upstream in router.config.upstreams and router.accepts(event.upstream, parsed.stream, parsed):
            return event
    elif event.came_as != event.stream:
        (parsed,) = parse(parsed.with_stream_and_id(json.dumps(event.came_as)[1:-1], None))
    decision = router.decide(parsed)
    if decision.upstream is None:
        return decision.refusal or "it has no route"
    stream = decision.stream or parsed.stream or ""
    key = parsed.order_key(stream, decision.order_by) if decision.order_by else None
    return msgspec.structs.replace(
        event,
        upstream=decision.upstream,
        stream=stream,
        body=event.body if stream == event.stream else parsed.with_stream_and_id(decision.stream, None),
        order_key=None if key is None else key_of(decision.upstream, key),
    )


class _Said(msgspec.Struct):
    message: str = ""
    errorsText: str = ""  # noqa: N815  as EventGate writes it


def reason(status: EventStatus) -> str:
    """Return in words why an event was not taken."""
    said = context_of(status, _Said) or _Said()
    return said.errorsText or said.message or f"EventGate's answer was {status.status}"
