"""What the end of an attempt means for the next one.

Named after what it says about the event, not about the network: only whether EventGate may already have
taken the event decides what may be done with it. Sources: Envoy's retry_on policies, nginx's
`proxy_next_upstream` (a POST stops once bytes left), HAProxy's `retry-on`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal


class FailureClass(enum.StrEnum):
    """Why an attempt brought no verdict."""

    NEVER_SENT = "never_sent"
    """DNS, connect or TLS failed: EventGate saw nothing, another attempt costs nothing."""
    REFUSED = "refused"
    """EventGate, or who stands before it, will not take this POST however often it is sent."""
    THROTTLED = "throttled"
    """Not now: 429, or 503 with Retry-After."""
    INFRASTRUCTURE = "infrastructure"
    """A 5xx that is not EventGate's own: what stands before it is broken."""
    AMBIGUOUS = "ambiguous"
    """It broke off after bytes were written: EventGate may have taken the events."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that ended without a verdict on the events."""

    failure: FailureClass
    reason: str
    """In words, for log, status page and producer."""
    retry_after: float = 0.0
    """Seconds the endpoint asked to be left alone."""


MAX_ATTEMPTS = 2
"""How often the events of one request may be sent; what was never sent does not count."""


def may_try_again(failed: Failed, attempts_sent: int, on_ambiguous: Literal["resend", "spool", "fail"]) -> bool:
    """Whether the same bytes may go out once more, after `attempts_sent` attempts that reached an endpoint."""
    if failed.failure is FailureClass.NEVER_SENT:
        return True
    if failed.failure is FailureClass.REFUSED:
        return False
    if failed.failure is FailureClass.AMBIGUOUS and on_ambiguous != "resend":
        return False
    return attempts_sent < MAX_ATTEMPTS


def failure_of_status(status: int, retry_after: float | None) -> FailureClass:
    """Return the class of an answer that carries no verdict of EventGate's (`verdict.read`)."""
    if status == 429 or (status == 503 and retry_after is not None):
        return FailureClass.THROTTLED
    if status == 501 or status < 500:
        return FailureClass.REFUSED
    return FailureClass.INFRASTRUCTURE


class Budget:
    """How many second attempts an upstream bears: a share of what is in flight, with a floor.

    Two slow datacenters are not made slower by sending everything twice (Envoy's retry budget).
    """

    PERCENT = 20
    FLOOR = 10

    def __init__(self) -> None:
        """Nothing is in flight."""
        self.in_flight = 0
        """Deliveries under way."""
        self.second_attempts = 0
        """Second attempts under way, of events that may have been taken already."""

    @property
    def allows(self) -> bool:
        """Whether one more second attempt may start now."""
        return self.second_attempts < max(self.FLOOR, self.in_flight * self.PERCENT // 100)
