"""Decides when, in which order and how fast to send the spool, and what an answer means for a spooled event.

Until the first success one event is sent alone, so that at most one is duplicated while nothing answers. Then batches
grow, and after that the number of parallel batches. Any failure starts again at one. Pauses after failures use full
jitter (Amazon's "Exponential Backoff And Jitter"), so that a thousand sidecars do not retry at once.
"""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from sidecar.errors import RequestError
from sidecar.events.event import Event, parse
from sidecar.events.results import EventStatus, context_of
from sidecar.routes.routing import Router
from sidecar.spool.record import MAX_SET_BACK_SECONDS, Key, Spooled, key_of

MAX_BACKOFF_SECONDS = 60.0
MIN_BACKOFF_SECONDS = 0.1
"""Full jitter alone could give no pause, many times in a row."""
MAX_EVENTS = 128
MAX_BYTES = 1024 * 1024
PROBE_EVENTS = 8
"""Sent together while EventGate returns errors for all events."""
MAX_BATCHES = 4
"""Parallel batches; live traffic comes first."""
MAX_POSTS = 32
"""Parallel POSTs of events that failed before and are sent alone."""
MAX_REST_SECONDS = 1.0
"""Maximum pause between two batches while live traffic has priority: the spool must still become empty."""
IDLE_SECONDS = 1.0
"""Pause while events wait but none may be sent yet."""
MAX_ERRORS = 20
"""Failures of an event, while others are taken, that make it a dead letter: after about half an hour."""
MAX_AWAY_SECONDS = 3600.0
"""Maximum time between two processes that counts for the age of events."""
MAX_ORIGINS = 256
"""Sets of labels whose routers are kept."""
MAX_VERDICT_BYTES = 4096
"""Maximum length of EventGate's answer kept for a dead letter."""


def backoff(failures: int, chance: float) -> float:
    """Return the seconds to wait after `failures` failures in a row; `chance` is from 0 to 1."""
    most = min(MAX_BACKOFF_SECONDS, 2.0 ** min(failures, 10) / 2)
    return max(MIN_BACKOFF_SECONDS, chance * most)


class SpoolClock:
    """Unix time without steps, so that a step of the wall clock neither ages events nor stops replay.

    It starts at the wall clock and continues with a monotonic one. If a file with waiting events is opened, it starts
    at the newest time in it, or up to `MAX_AWAY_SECONDS` later, since a later wall clock may be wrong. While nothing
    waits, it is set to the wall clock again.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        """Start at the wall clock; `steady` is monotonic."""
        self._wall, self._steady = wall, steady
        self.set()

    def now(self) -> float:
        """Return the time."""
        return self._offset + self._steady()

    def set(self) -> None:
        """Set it to the wall clock."""
        self._offset = self._wall() - self._steady()

    def begin_after(self, newest: float) -> None:
        """Start at the newest time in a file, or up to `MAX_AWAY_SECONDS` later."""
        self._offset += min(max(self.now(), newest), newest + MAX_AWAY_SECONDS) - self.now()


class Ordering:
    """Keeps events of one order key in order: tracks which keys are busy.

    The first event of a key is sent live; one that arrives while an earlier one is not settled goes into the spool,
    behind it. That takes three facts about each key:

    1. whether its first event is in flight, which means it was not behind another, and is neither settled nor stored
       yet;
    2. how many of its events may be in a transaction that has not ended, whatever their producers were told;
    3. whether the file has events with this key. Until the file has been read, every key is busy.
    """

    def __init__(self) -> None:
        """Start without knowing the file, so all keys are busy."""
        self._known = False
        self._first: set[Key] = set()
        self._storing: Counter[Key] = Counter()
        self._stored: set[Key] = set()

    def arrive(self, key: Key | None) -> bool:
        """Return whether an event must wait behind another with its key; if not, `settled` must be called for it."""
        if key is None:
            return False
        if self.is_busy(key):
            return True
        self._first.add(key)
        return False

    def settled(self, key: Key | None) -> None:
        """Record that the first event of a key was delivered, refused, stored, or answered as failed."""
        if key is not None:
            self._first.discard(key)

    def is_busy(self, key: Key) -> bool:
        """Whether an event with this key is in flight, may be being written, or is in the spool."""
        return not self._known or key in self._first or key in self._storing or key in self._stored

    def held_back(self) -> frozenset[Key]:
        """Return the keys whose first event is in flight; the spool's events with these keys are newer."""
        return frozenset(self._first)

    # --- called by the spool ---

    def storing(self, keys: Iterable[Key]) -> None:
        """Record that events with these keys are about to be written."""
        self._storing.update(keys)

    def wrote(self, keys: Iterable[Key], *, stored: bool) -> None:
        """Record that the transaction with these keys has ended, and whether the events are stored."""
        for key in keys:
            self._storing[key] -= 1
            if not self._storing[key]:
                del self._storing[key]
            if stored:
                self._stored.add(key)

    def freed(self, key: Key) -> None:
        """Record that the spool has no more events with this key."""
        self._stored.discard(key)

    def learn(self, stored: Iterable[Key]) -> None:
        """Set the keys in the file."""
        self._known = True
        self._stored = set(stored)


@dataclass(frozen=True, slots=True)
class Window:
    """How much of the spool is sent at once."""

    events: int = 1
    """In a batch."""
    batches: int = 1
    """In parallel."""
    failures: int = 0
    """In a row."""

    def after_success(self) -> Window:
        """Grow: first the batches, then their number."""
        if self.events < MAX_EVENTS:
            return Window(min(self.events * 2, MAX_EVENTS))
        return Window(MAX_EVENTS, min(self.batches + 1, MAX_BATCHES))

    def after_failure(self, *, answered: bool) -> Window:
        """Begin again with one event; with a few if EventGate has `answered` for each.

        Then a good one among them shows that the others are to blame, where one event a minute would take long.
        """
        return Window(PROBE_EVENTS if answered else 1, failures=self.failures + 1)


class Fate(enum.Enum):
    """What an attempt means for a spooled event."""

    DELIVERED = "delivered"
    DEAD = "dead"
    """It becomes a dead letter."""
    ERROR = "error"
    """EventGate returned an error for this event but takes others: it counts against the event."""
    FAILED = "failed"
    """No endpoint took it, or EventGate returns errors for all events: it is not the event's fault."""


def fate(event: Spooled, status: EventStatus, last_taken: float | None, *, alone: bool) -> Fate:
    """Return what `status` means for `event`; `last_taken` is when its upstream last took any event, live or not.

    A failure counts against an event only if another was taken since its last attempt: while Kafka is down, EventGate
    returns an error for every event. Without a verdict (the connection was cut, a proxy answered, or nothing did), the
    event must also have been sent alone, and not for the first time.
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
    """Return for how many seconds others go before a failed event; `errors` were its own fault.

    Its upstream pauses for `pause` first. Without errors of its own, the event only goes behind those that were not
    tried when the next attempt is made.
    """
    if errors:
        return min(MAX_SET_BACK_SECONDS, 2.0**errors)
    return pause + IDLE_SECONDS if status.unreachable else MAX_SET_BACK_SECONDS


def verdict(status: EventStatus) -> bytes:
    """Return EventGate's answer for a failed event, as JSON without the event, shortened if it is long."""
    found = context_of(status, msgspec.Raw)
    if found is None:
        return b""
    context = bytes(found)
    if len(context) > MAX_VERDICT_BYTES:
        context = msgspec.json.encode(context[:MAX_VERDICT_BYTES].decode(errors="replace") + "…")
    return b'{"status":"%b","context":%b}' % (status.status.encode(), context)


class Routers:
    """The routes of one configuration, for this pod and for those whose spools were handed over."""

    def __init__(self, own: Router) -> None:
        """`own` is for what came from producers."""
        self._own = own
        self._others: dict[tuple[tuple[str, str], ...], Router] = {}

    def of(self, event: Spooled) -> Router:
        """Return the routes with the labels of the pod that an event came to."""
        labels = event.origin
        if labels is None:
            return self._own
        key = tuple(labels.items())
        if key not in self._others:
            if len(self._others) == MAX_ORIGINS:
                self._others.clear()
            self._others[key] = Router(self._own.config, labels, self._own.indexes)
        return self._others[key]


def reroute(event: Spooled, router: Router) -> Spooled | str:
    """Route an event again by `router`; return it as it is sent now, or why it is not.

    It is routed by the stream it came with. An event from a file of an older version, which lacks that, is left as it
    is if its upstream still accepts it.
    """
    try:
        return _rerouted(event, router)
    except RequestError as error:  # its stream cannot be replaced: the search would take too long
        return error.detail


def _rerouted(event: Spooled, router: Router) -> Spooled | str:
    try:
        (parsed,) = parse(event.body)
    except (RequestError, ValueError):  # a member of an array that is not an object
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
    """Return why an event was not taken, in words."""
    said = context_of(status, _Said) or _Said()
    return said.errorsText or said.message or f"EventGate's answer was {status.status}"
