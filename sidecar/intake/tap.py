"""The tap: shows passing events, with route and outcome, to the current listeners.

Each listener has its own sampling, filter and bounds. Events that it misses are counted, and no event waits for a
listener. Without listeners, the only cost is a flag that `intake` checks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from sidecar.events.event import Event
from sidecar.events.outgoing import Outgoing
from sidecar.events.results import EventStatus, Outcome, context_of
from sidecar.routes.language.pattern import Pattern

PER_SECOND = 50
"""Maximum events a second for a listener; more than anybody can read."""
MAX_WAITING = 100
"""Events queued for a slow listener; further ones are lost."""
MAX_EVENT_BYTES = 8 * 1024
MAX_SAID = 2 * 1024


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """An event that passed."""

    at: float
    """When its request was answered, in Unix time."""
    stream: str
    """The stream it came with; empty if it has none."""
    id: str | None
    """Its `meta.id`, including one added here."""
    route: str
    """The route that took it; empty if none did."""
    sent_as: str
    """The stream it was sent under; empty if it was not sent."""
    upstream: str
    endpoint: str
    outcome: Outcome
    said: str
    """Why, if the outcome is not a success: EventGate's message or the sidecar's."""
    event: str
    """As received."""
    event_bytes: int
    """Size of the whole event."""
    cut: bool
    """Whether `event` is shortened."""


class Missed(msgspec.Struct, frozen=True):
    """Events that a listener missed since the last report."""

    left_out: int
    """Over `PER_SECOND`."""
    lost: int
    """Its queue was full."""


class Wanted(msgspec.Struct, frozen=True):
    """The filter of a listener; by default it passes all events."""

    stream: Pattern | None = None
    """Compared with the stream as received and as sent."""
    outcomes: frozenset[str] = frozenset()

    def takes(self, names: Sequence[str], outcome: str) -> bool:
        """Whether an event with these stream names and this outcome passes the filter."""
        if self.outcomes and outcome not in self.outcomes:
            return False
        return self.stream is None or any(self.stream.groups_in(name) is not None for name in names)


class Listener:
    """One listener's queue."""

    def __init__(self, wanted: Wanted) -> None:
        """Start with an empty queue."""
        self.wanted = wanted
        self._waiting: deque[Passed] = deque()
        self._second = self._told = 0
        self._of_second = self._left_out = self._lost = 0

    def has_room(self, now: float) -> bool:
        """Whether the queue has room for an event; if not, the event is counted as missed."""
        if int(now) != self._second:
            self._second, self._of_second = int(now), 0
        if self._of_second >= PER_SECOND:
            self._left_out += 1
            return False
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            return False
        return True

    def keep(self, passed: Passed) -> None:
        """Queue an event."""
        self._of_second += 1
        self._waiting.append(passed)

    def take(self, now: float) -> list[Passed | Missed]:
        """Empty the queue and return its events; at most once a second, add how many were missed."""
        found: list[Passed | Missed] = list(self._waiting)
        self._waiting.clear()
        if (self._left_out or self._lost) and int(now) != self._told:
            found.append(Missed(self._left_out, self._lost))
            self._told, self._left_out, self._lost = int(now), 0, 0
        return found


class Tap:
    """Passes events to listeners; `listening` is the flag that `intake` checks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns Unix time."""
        self._clock = clock
        self._listeners: list[Listener] = []
        self.listening = False

    @contextmanager
    def listener(self, wanted: Wanted) -> Iterator[Callable[[], list[Passed | Missed]]]:
        """Add a listener; yields a function that returns what has passed since its last call."""
        listener = Listener(wanted)
        self._listeners.append(listener)
        self.listening = True
        try:
            yield lambda: listener.take(self._clock())
        finally:
            self._listeners.remove(listener)
            self.listening = bool(self._listeners)

    def saw(self, event: Event, route: str, sent: Outgoing | None, status: EventStatus) -> None:
        """Show an answered event to the listeners; `sent` is None if the sidecar refused it."""
        now = self._clock()
        names = (event.stream or "", sent.stream) if sent else (event.stream or "",)
        keep = [each for each in self._listeners if each.wanted.takes(names, status.outcome) and each.has_room(now)]
        if keep:
            passed = _passed(now, event, route, sent, status)
            for each in keep:
                each.keep(passed)


class _Context(msgspec.Struct):
    message: str = ""
    text: str = msgspec.field(name="errorsText", default="")


def _passed(now: float, event: Event, route: str, sent: Outgoing | None, status: EventStatus) -> Passed:
    return Passed(
        at=round(now, 3),
        stream=event.stream or "",
        id=sent.id if sent else event.id,
        route=route,
        sent_as=sent.stream if sent else "",
        upstream=status.upstream,
        endpoint=status.endpoint,
        outcome=status.outcome,
        said=_said(status),
        event=event.raw[:MAX_EVENT_BYTES].decode(errors="replace"),
        event_bytes=len(event.raw),
        cut=len(event.raw) > MAX_EVENT_BYTES,
    )


def _said(status: EventStatus) -> str:
    """Return why an event was not accepted; in full, unlike in the log, since the event is shown too."""
    if status.status == "success":
        return ""
    context = context_of(status, _Context)
    if context is None:
        return status.status
    words = context.text or context.message or status.status
    return words if len(words) <= MAX_SAID else words[: MAX_SAID - 1] + "…"
