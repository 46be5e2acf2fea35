"""One attempt of a journey: what is known of it, what its end says about its address, and who traces it."""

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
from sidecar.telemetry.happenings import Happening, PostAnswered, PostFailed, Resent, Unexpected
from sidecar.upstreams.endpoints import Address, Pool, tell

_FAULTS = (FailureClass.NEVER_SENT, FailureClass.INFRASTRUCTURE, FailureClass.AMBIGUOUS)
"""Failures that speak against the address; the others prove that it is there."""


class Try(msgspec.Struct, eq=False):
    """An attempt, from its start to its end."""

    pool: Pool
    address: Address
    trial: bool
    """Whether its answer decides about the address."""
    began: float
    ends_by: float
    """When its time is up, in seconds of the clock; so are all times here."""
    load: Load
    """What is posted."""
    places: Sequence[int]
    """Which events of the journey's load that is."""
    first: str | None
    """The endpoint that may have taken the events already; None where none may."""
    emit: Callable[[Happening], None]
    """Takes what happens to it."""
    trace: TryTrace | None = None
    late_at: float = math.inf
    """When its address is doubted."""
    ended: float = math.inf
    attempt: Attempt | None = None
    over: bool = False
    erred: bool = False
    """Whether EventGate met an error with some of its events."""

    @property
    def sent(self) -> bool:
        """Whether it may have reached the endpoint."""
        return self.attempt is not None and self.attempt.sent_at is not None

    def judge(self, result: Result, events: int, now: float, jitter: Callable[[], float]) -> list[EventStatus] | Failed:
        """Return what it brought; what a failure says about its address is noted at once, see `note_answer`."""
        pool, endpoint = self.pool, self.address.endpoint.name
        self.ended = now
        if self.first is not None and self.sent:
            self.emit(Resent(pool.name, self.first, events))
        if isinstance(result, list):
            return placed(result, pool.name, endpoint)
        if isinstance(result, Exception):
            self.emit(Unexpected("delivery", f"{type(result).__name__}: {result}"))
            result = Failed(FailureClass.AMBIGUOUS, BUG)
        self._note_failure(result, jitter)
        return result

    def errs_with_others(self, outcome: Sequence[EventStatus]) -> bool:
        """Whether its endpoint has errors with whatever it gets, so that these events are not to blame."""
        return not (self.address.standing.produces or any(each.status == "success" for each in outcome))

    def note_answer(self, outcome: Sequence[EventStatus]) -> None:
        """Take note of an answer, for its address and for those who watch."""
        pool, standing = self.pool, self.address.standing
        sent_at = self.attempt.sent_at if self.attempt is not None else None
        seconds, server_seconds = self.ended - self.began, self.ended - (sent_at or self.began)
        self.emit(PostAnswered(pool.name, self.address.endpoint.name, len(outcome), seconds))
        words = {each.status for each in outcome}
        try:
            if "success" in words and not self.load.hasty:  # accepted before Kafka had it
                pool.judge.accepted(standing)
            if words == {"error"}:
                changes = pool.judge.erred(standing, self.ended, trial=self.trial)
            else:
                changes = pool.judge.answered(standing, server_seconds, self.ended, trial=self.trial)
            tell(self.emit, self.address, changes)
        except Exception as error:  # noqa: BLE001  no mistake of ours here may change what the producer is told
            self.emit(Unexpected("health", f"{type(error).__name__}: {error}"))

    def note_that_another_took_them(self, now: float, jitter: Callable[[], float]) -> None:
        """Take note that another endpoint took events with which EventGate met an error here: it cannot produce."""
        reason = "EventGate has errors with events that another endpoint takes"
        try:
            tell(self.emit, self.address, self.pool.judge.failed(self.address.standing, reason, now, jitter()))
        except Exception as error:  # noqa: BLE001  as above
            self.emit(Unexpected("health", f"{type(error).__name__}: {error}"))

    def _note_failure(self, failed: Failed, jitter: Callable[[], float]) -> None:
        pool, address, seconds = self.pool, self.address, self.ended - self.began
        self.emit(PostFailed(pool.name, address.endpoint.name, failed.failure, failed.reason, seconds))
        try:
            if failed.failure in _FAULTS and self.load.doubted and self.sent and not self.trial:
                address.check_now.set()
            elif failed.failure in _FAULTS:
                changes = pool.judge.failed(address.standing, failed.reason, self.ended, jitter(), trial=self.trial)
                tell(self.emit, address, changes)
                address.check_now.set()
            elif self.trial:
                tell(self.emit, address, pool.judge.answered(address.standing, seconds, self.ended, trial=True))
        except Exception as error:  # noqa: BLE001  as above
            self.emit(Unexpected("health", f"{type(error).__name__}: {error}"))

    def put_off(self, seconds: float) -> None:
        """Do not count so many seconds in which nothing ran."""
        self.began += seconds
        self.ends_by += seconds
        self.late_at += seconds
        if self.attempt is not None and self.attempt.sent_at is not None:
            self.attempt.sent_at += seconds

    def end_trace(self, outcome: list[EventStatus] | Failed) -> None:
        """Tell its trace how it ended."""
        if self.trace is not None:
            self.trace.ended(outcome, self.attempt.status if self.attempt is not None else None)


# --- what traces implement; see `serve.tracing` ---


class TryTrace(Interface):
    """Follows one attempt."""

    load: Load
    """What is posted, with headers of the attempt's own."""

    def emit(self, happening: Happening) -> None:
        """Take what happens to it, and pass it on."""

    def ended(self, outcome: list[EventStatus] | Failed, status: int | None) -> None:
        """Take note of what it brought, and of the HTTP status of its answer; None where there was none."""


class LoadTrace(Interface):
    """Follows one load, from its departure to its end."""

    def emit(self, happening: Happening) -> None:
        """Take what happens to it, and pass it on."""

    def posted(self, load: Load, address: Address, before: int) -> TryTrace:
        """Follow an attempt at `load` that is about to start; so many were made `before`."""

    def ended(self, result: list[EventStatus] | Undelivered) -> None:
        """Take note of how it ended."""


class Observer(Interface):
    """Follows loads."""

    def joined(self, headers: Sequence[Headers]) -> Headers:
        """Return the headers of loads that leave together."""

    def begun(self, load: Load) -> tuple[Load, LoadTrace | None]:
        """Return what is sent of a load that departs, and who follows it; None where nobody does."""
