"""One attempt of a journey, what its result says about its address, and the interfaces for tracing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol as Interface

import msgspec

from sidecar.delivery.retry import Undelivered
from sidecar.eventgate.client import Attempt, Result
from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Headers, Load
from sidecar.events.results import BUG, EventStatus, placed
from sidecar.telemetry.contained import unexpected
from sidecar.telemetry.happenings import Happening, PostAnswered, PostFailed, Resent
from sidecar.upstreams.endpoints import Address, Pool, tell
from sidecar.upstreams.health import OUT

_FAULTS = (FailureClass.NEVER_SENT, FailureClass.INFRASTRUCTURE, FailureClass.AMBIGUOUS)
"""Failures that count against the address; the others prove that it answers."""


class Try(msgspec.Struct, eq=False):
    """One attempt."""

    pool: Pool
    address: Address
    trial: bool
    """Whether it is a trial, which decides about the address."""
    began: float
    ends_by: float
    """When it times out; all times here are in seconds of the clock."""
    load: Load
    """The events to post."""
    places: Sequence[int]
    """Their indexes in the journey's load."""
    first: str | None
    """The endpoint that may have taken the events already, if any."""
    again: bool
    """Whether the events were sent to this address before: a failure counts once."""
    emit: Callable[[Happening], None]
    """Takes its happenings."""
    trace: TryTrace | None = None
    late_at: float = math.inf
    """When its address becomes suspected."""
    ended: float = math.inf
    attempt: Attempt | None = None
    over: bool = False
    erred: bool = False
    """Whether EventGate returned an error for some of its events."""

    @property
    def sent(self) -> bool:
        """Whether it may have reached the endpoint."""
        return self.attempt is not None and self.attempt.sent_at is not None

    @property
    def given_up(self) -> bool:
        """Whether it ended before it was sent, and its address is not out: one lost packet proves little."""
        return self.over and not self.sent and self.address.standing.health not in OUT

    def judge(self, result: Result, events: int, now: float, jitter: Callable[[], float]) -> list[EventStatus] | Failed:
        """Return the outcome; a failure is recorded for the address at once, an answer by `note_answer`."""
        pool, endpoint = self.pool, self.address.endpoint.name
        self.ended = now
        if self.first is not None and self.sent:
            self.emit(Resent(pool.name, self.first, events))
        if isinstance(result, list):
            return placed(result, pool.name, endpoint)
        if isinstance(result, Exception):
            self.emit(unexpected("delivery", result))
            result = Failed(FailureClass.AMBIGUOUS, BUG)
        self._note_failure(result, jitter)
        return result

    def errs_with_others(self, outcome: Sequence[EventStatus]) -> bool:
        """Whether the endpoint returns errors for all events, so that these are not to blame."""
        return not (self.address.standing.produces or any(each.status == "success" for each in outcome))

    def note_answer(self, outcome: Sequence[EventStatus]) -> None:
        """Record an answer, in the health of the address and in telemetry."""
        pool, standing = self.pool, self.address.standing
        sent_at = self.attempt.sent_at if self.attempt is not None else None
        seconds, server_seconds = self.ended - self.began, self.ended - (sent_at or self.began)
        self.emit(PostAnswered(pool.name, self.address.endpoint.name, len(outcome), seconds))
        words = {each.status for each in outcome}
        try:
            if "success" in words and not self.load.hasty:  # a hasty answer comes before Kafka's
                pool.judge.accepted(standing)
            if "error" in words and "success" not in words:  # what is invalid never reaches Kafka
                changes = pool.judge.erred(standing, self.ended, trial=self.trial)
            else:
                changes = pool.judge.answered(standing, server_seconds, self.ended, trial=self.trial)
            tell(self.emit, self.address, changes)
        except Exception as error:  # noqa: BLE001  a bug here must not change what the producer is told
            self.emit(unexpected("health", error))

    def note_that_another_took_them(self, now: float, jitter: Callable[[], float]) -> None:
        """Record that another endpoint took events for which this one returned errors: this one cannot produce."""
        reason = "EventGate has errors with events that another endpoint takes"
        try:
            tell(self.emit, self.address, self.pool.judge.failed(self.address.standing, reason, now, jitter()))
        except Exception as error:  # noqa: BLE001  as above
            self.emit(unexpected("health", error))

    def _note_failure(self, failed: Failed, jitter: Callable[[], float]) -> None:
        pool, address, seconds = self.pool, self.address, self.ended - self.began
        self.emit(PostFailed(pool.name, address.endpoint.name, failed.failure, failed.reason, seconds))
        try:
            doubted = self.load.doubted or self.again
            if failed.failure in _FAULTS and doubted and self.sent and not self.trial:
                address.check_now.set()
            elif failed.failure in _FAULTS:
                changes = pool.judge.failed(address.standing, failed.reason, self.ended, jitter(), trial=self.trial)
                tell(self.emit, address, changes)
                address.check_now.set()
            elif self.trial:
                tell(self.emit, address, pool.judge.answered(address.standing, seconds, self.ended, trial=True))
        except Exception as error:  # noqa: BLE001  as above
            self.emit(unexpected("health", error))

    def put_off(self, seconds: float) -> None:
        """Postpone all deadlines by `seconds`, in which the process was stalled."""
        self.began += seconds
        self.ends_by += seconds
        self.late_at += seconds
        if self.attempt is not None and self.attempt.sent_at is not None:
            self.attempt.sent_at += seconds

    def end_trace(self, outcome: list[EventStatus] | Failed) -> None:
        """Pass the outcome to its trace."""
        if self.trace is not None:
            self.trace.ended(outcome, self.attempt.status if self.attempt is not None else None)


# --- interfaces for tracing, implemented in `serve.tracing` ---


class TryTrace(Interface):
    """Traces one attempt."""

    load: Load
    """The load to post, with the attempt's own tracing headers."""

    def emit(self, happening: Happening) -> None:
        """Record a happening of the attempt, and pass it on."""

    def ended(self, outcome: list[EventStatus] | Failed, status: int | None) -> None:
        """Record the outcome, and the HTTP status of the answer, if there was one."""


class LoadTrace(Interface):
    """Traces one load."""

    def emit(self, happening: Happening) -> None:
        """Record a happening of the load, and pass it on."""

    def posted(self, load: Load, address: Address, before: int) -> TryTrace:
        """Start the trace of an attempt with `load`, after `before` earlier ones."""

    def ended(self, result: list[EventStatus] | Undelivered) -> None:
        """Record the result."""


class Observer(Interface):
    """Traces loads."""

    def joined(self, headers: Sequence[Headers]) -> Headers:
        """Merge the headers of loads that are sent together."""

    def begun(self, load: Load) -> tuple[Load, LoadTrace | None]:
        """Return the load to send and its trace; None if it is not traced."""
