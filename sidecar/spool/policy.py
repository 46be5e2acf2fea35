"""When the spool is sent again, how much at once, and what an answer means for a spooled event.

Until the first success one event goes out alone: while nothing answers, that is all that can be doubled. Then
batches grow, and after that more of them go side by side. Any failure begins again at one. Between failures it
waits with full jitter (Amazon's "Exponential Backoff And Jitter"), so that a thousand sidecars do not come at once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgspec

from sidecar.events.results import EventStatus, context_of
from sidecar.spool.record import Spooled

MAX_BACKOFF_SECONDS = 60.0
MIN_BACKOFF_SECONDS = 0.1
"""Chance alone could say none, many times in a row."""
MAX_EVENTS = 128
MAX_BYTES = 1024 * 1024
MAX_BATCHES = 4
"""Batches side by side; live traffic comes first."""
MAX_REST_SECONDS = 1.0
"""While live traffic is pressing, so much time passes between two batches: the spool still has to become empty."""
ERROR_SECONDS = 2 * MAX_BACKOFF_SECONDS
"""How long an event waits with which EventGate met an error: longer than any pause of its upstream, so that the next
one is tried first, and shows whether others are taken."""
MAX_ERRORS = 20
"""So many errors of EventGate with one event, while it took others, make it a dead letter."""


def backoff(failures: int, chance: float) -> float:
    """Return how long to wait after so many failures in a row; `chance` is from 0 to 1."""
    most = min(MAX_BACKOFF_SECONDS, 2.0 ** min(failures, 10) / 2)
    return max(MIN_BACKOFF_SECONDS, chance * most)


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


def fate(event: Spooled, status: EventStatus, last_success: float | None) -> Fate:
    """Say what `status` means for `event`; `last_success` is when its upstream last took any event from the spool.

    An error counts against an event only where another was taken since its last attempt: while Kafka is down,
    EventGate has an error for every event, and none of them is to blame.
    """
    if status.status == "success":
        return Fate.DELIVERED
    if status.status == "invalid":
        return Fate.DEAD
    others_are_taken = last_success is not None and last_success >= (event.last_attempt or event.first_seen)
    if status.unreachable or not others_are_taken:
        return Fate.FAILED
    return Fate.DEAD if event.errors + 1 >= MAX_ERRORS else Fate.ERROR


def due(status: EventStatus, now: float) -> float:
    """Return when an event that was not taken may be sent again: at once, unless EventGate met an error with it."""
    return 0.0 if status.unreachable else now + ERROR_SECONDS


class _Said(msgspec.Struct):
    message: str = ""
    errorsText: str = ""  # noqa: N815  as EventGate writes it


def reason(status: EventStatus) -> str:
    """Return in words why an event was not taken."""
    said = context_of(status, _Said) or _Said()
    return said.errorsText or said.message or f"EventGate's answer was {status.status}"
