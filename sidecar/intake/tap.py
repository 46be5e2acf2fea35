"""The tap: events as they pass, with their route and outcome, for whoever is listening.

Each listener is sampled, filtered and bounded separately. An event that it does not get is counted for it, and no event
waits for a listener. While nobody listens, `intake` checks one flag and does nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from sidecar.events.event import Event
from sidecar.events.outgoing import Outgoing
from sidecar.events.results import EventStatus, Outcome, context_of
from sidecar.routes.pattern import Pattern

PER_SECOND = 50
"""Events that a listener gets of each second at most; more than anybody reads."""
MAX_WAITING = 100
"""Events that wait for a slow listener; it loses the next ones."""
MAX_EVENT_BYTES = 8 * 1024
MAX_SAID = 2 * 1024


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """An event that passed."""

    at: float
    """When it was answered for, in Unix time."""
    stream: str
    """The name it came with; empty where it has none."""
    id: str | None
    """Its `meta.id`, given here where it was missing."""
    route: str
    """Which took it; empty where none did."""
    sent_as: str
    """The name of its stream when it was sent; empty where it was not."""
    upstream: str
    endpoint: str
    outcome: Outcome
    said: str
    """Why, where the outcome is no success: EventGate's words or ours."""
    event: str
    """As it came."""
    event_bytes: int
    """Of the whole event."""
    cut: bool
    """Whether `event` is not all of it."""


class Missed(msgspec.Struct, frozen=True):
    """Events that a listener did not get since it was last told."""

    left_out: int
    """Those over `PER_SECOND`."""
    lost: int
    """Those that came while it did not read."""


class Wanted(msgspec.Struct, frozen=True):
    """Which events a listener asked for; nothing said means all."""

    stream: Pattern | None = None
    """As it came, or as it was sent."""
    outcomes: frozenset[str] = frozenset()

    def takes(self, names: Sequence[str], outcome: str) -> bool:
        """Whether an event of one of these names that ended so is asked for."""
        if self.outcomes and outcome not in self.outcomes:
            return False
        return self.stream is None or any(self.stream.groups_in(name) is not None for name in names)


class Listener:
    """One who listens."""

    def __init__(self, wanted: Wanted) -> None:
        """Nothing has passed yet."""
        self.wanted = wanted
        self._waiting: deque[Passed] = deque()
        self._second = self._told = 0
        self._of_second = self._left_out = self._lost = 0

    def has_room(self, now: float) -> bool:
        """Whether one more event can be kept for it; if not, the event is counted as missed."""
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
        """Keep an event until it is taken."""
        self._of_second += 1
        self._waiting.append(passed)

    def take(self, now: float) -> list[Passed | Missed]:
        """Return what was kept since the last call; what was missed is told once a second."""
        found: list[Passed | Missed] = list(self._waiting)
        self._waiting.clear()
        if (self._left_out or self._lost) and int(now) != self._told:
            found.append(Missed(self._left_out, self._lost))
            self._told, self._left_out, self._lost = int(now), 0, 0
        return found


class Tap:
    """Where events are seen; `listening` is all that is asked while nobody listens."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is that of people."""
        self._clock = clock
        self._listeners: list[Listener] = []
        self.listening = False

    @contextmanager
    def listener(self, wanted: Wanted) -> Iterator[Callable[[], list[Passed | Missed]]]:
        """Listen; what is given returns what passed since it was called last."""
        listener = Listener(wanted)
        self._listeners.append(listener)
        self.listening = True
        try:
            yield lambda: listener.take(self._clock())
        finally:
            self._listeners.remove(listener)
            self.listening = bool(self._listeners)

    def saw(self, event: Event, route: str, sent: Outgoing | None, status: EventStatus) -> None:
        """Take note of an event that is answered for; `sent` is None where it was refused here."""
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
    """Return what was said of an event that was not accepted; in full, unlike the log, since all else is shown too."""
    if status.status == "success":
        return ""
    context = context_of(status, _Context)
    if context is None:
        return status.status
    words = context.text or context.message or status.status
    return words if len(words) <= MAX_SAID else words[: MAX_SAID - 1] + "…"
