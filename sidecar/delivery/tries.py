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

    @property
    def sent(self) -> bool:
        """Whether it may have reached the endpoint."""
        return self.attempt is not None and self.attempt.sent_at is not None

    def judge(self, result: Result, events: int, now: float, jitter: Callable[[], float]) -> list[EventStatus] | Failed:
        """Return what it brought; what a failure says about its address is noted at once, see `note_answer`."""
        pool, address = self.pool, self.address
        endpoint = address.endpoint.name
        self.ended = now
        if self.first is not None and self.sent:
            self.emit(Resent(pool.name, self.first, events))
        if isinstance(result, list):
            return placed(result, pool.name, endpoint)
        if isinstance(result, Exception):
            self.emit(Unexpected("delivery", f"{type(result).__name__}: {result}"))
            result = Failed(FailureClass.AMBIGUOUS, BUG)
        seconds = now - self.began
        self.emit(PostFailed(pool.name, endpoint, result.failure, result.reason, seconds))
        if result.failure in _FAULTS:
            changes = pool.judge.failed(address.standing, result.reason, now, jitter(), trial=self.trial)
            tell(self.emit, address, changes)
            address.check_now.set()
        elif self.trial:
            tell(self.emit, address, pool.judge.answered(address.standing, seconds, now, trial=True))
        return result

    def note_answer(self, events: int) -> None:
        """Take note of an answer, for its address and for those who watch."""
        pool, address = self.pool, self.address
        sent_at = self.attempt.sent_at if self.attempt is not None else None
        seconds, server_seconds = self.ended - self.began, self.ended - (sent_at or self.began)
        self.emit(PostAnswered(pool.name, address.endpoint.name, events, seconds))
        tell(self.emit, address, pool.judge.answered(address.standing, server_seconds, self.ended, trial=self.trial))

    def end_trace(self, outcome: list[EventStatus] | Failed) -> None:
        """Tell whoever follows it how it ended."""
        if self.trace is not None:
            self.trace.ended(outcome, self.attempt.status if self.attempt is not None else None)


# --- whoever follows it: `serve.tracing`, where traces are asked for ---


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

    def posted(self, address: Address, before: int) -> TryTrace:
        """Follow an attempt that is about to start; so many were made `before`."""

    def ended(self, result: list[EventStatus] | Undelivered) -> None:
        """Take note of how it ended."""


class Observer(Interface):
    """Follows loads."""

    def joined(self, headers: Sequence[Headers]) -> Headers:
        """Return the headers of loads that leave together."""

    def begun(self, load: Load) -> tuple[Load, LoadTrace | None]:
        """Return what is sent of a load that departs, and who follows it; None where nobody does."""
