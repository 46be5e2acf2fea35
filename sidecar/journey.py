"""One group of events on its way to be accepted: where, how often, until when. The one loop that tries again.

The events go to the best address. If it fails, or is late, they go to the next: at most two attempts reach an
endpoint, both carry the same bytes, and the first answer wins. A late attempt is not given up: it may still answer,
and what it did is worth knowing; only one that is still connecting is, which costs nothing.

The loop is `Journey._go_on`, once round for everything that happens: an attempt ends, or the time is up. It is no
coroutine, since a task and its waiting cost more than all the rest of a lone event's way.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from sidecar.endpoints import Address, Pool, tell
from sidecar.event import Outgoing
from sidecar.eventgate import Attempt, Result
from sidecar.failover import Choice, next_elsewhere, order
from sidecar.results import BUG, EventStatus, failed, placed
from sidecar.retry import MAX_ATTEMPTS, Failed, FailureClass, may_try_again
from sidecar.telemetry import FailedOver, PostAnswered, PostFailed, Resent, Telemetry, Unexpected

MIN_ATTEMPT_SECONDS = 0.05
"""With less time left than this an attempt would only make the events ambiguous."""
BUDGET_SECONDS = 0.01
"""How often events that wait for the retry budget look whether there is room."""
MIN_WAIT_SECONDS = 0.001
"""Rounding must not make a journey spin."""
HELD_UP_SECONDS = 0.01
"""A timer that rings later than that says that the event loop stood still, and nothing about an endpoint."""

_FAULTS = (FailureClass.NEVER_SENT, FailureClass.INFRASTRUCTURE, FailureClass.AMBIGUOUS)
"""Failures that speak against the address; the others prove that it is there."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """No endpoint gave a verdict on the events of one array."""

    upstream: str
    endpoint: str
    """The one that `message` is about; empty where none was tried."""
    failure: FailureClass
    message: str
    give_up: float
    """Until when another attempt would still be in time, in seconds of the clock."""
    may_be_sent_again: bool = False
    """Whether the same events may be sent later: the spool may take them."""

    def status_of(self, event: Outgoing) -> EventStatus:
        """Return the status of one of the events."""
        unreachable = self.failure is not FailureClass.REFUSED
        status = failed(event.body, self.message, unreachable)
        return msgspec.structs.replace(
            status, upstream=self.upstream, endpoint=self.endpoint, may_be_sent_again=self.may_be_sent_again
        )


Done = Callable[[list[EventStatus] | Undelivered], None]
"""Is told the status of each event, in their order, or why there is none."""


@dataclass(slots=True)
class Means:
    """What a journey is made with."""

    telemetry: Telemetry
    jitter: Callable[[], float]
    """Gives numbers from 0 to 1."""
    clock: Callable[[], float]
    tasks: asyncio.TaskGroup | None = None
    """Runs what has to wait, which may outlive the request that it is for."""


class Try:
    """An attempt, from its start to its end."""

    def __init__(self, choice: Choice, address: Address, began: float, first: str | None) -> None:
        self.choice = choice
        self.address = address
        self.began = began
        self.first = first
        """The endpoint that may have taken the events already; None where none may."""
        self.late_at = math.inf
        self.attempt: Attempt | None = None
        self.over = False

    @property
    def sent(self) -> bool:
        """Whether it may have reached the endpoint."""
        return self.attempt is not None and self.attempt.sent_at is not None


class Journey:
    """What is tried for one group of events."""

    def __init__(
        self,
        pool: Pool,
        means: Means,
        events: Sequence[Outgoing],
        headers: Sequence[tuple[str, str]],
        hasty: bool,
        give_up: float,
        done: Done,
    ) -> None:
        """`give_up`: until when it may take, in seconds of the clock; `done` is told once how it ended."""
        self._pool = pool
        self._means = means
        self._events = events
        self._headers = headers
        self._hasty = hasty
        self._give_up = give_up
        self._done: Done | None = done
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        """When it should ring."""
        self._waits_for_budget = False
        """Whether there is an address to go to next, but no room in the budget yet."""
        self._tries: list[Try] = []
        self._how = Failed(FailureClass.NEVER_SENT, "there was no time left to try")
        self._ended_at = ""
        """Name of the endpoint that `end` is from."""

    @property
    def _tried(self) -> list[Choice]:
        """Everything tried so far."""
        return [each.choice for each in self._tries]

    @property
    def _under_way(self) -> list[Try]:
        """The attempts that have not ended."""
        return [each for each in self._tries if not each.over]

    @property
    def _sent(self) -> int:
        """How many attempts may have reached an endpoint."""
        return sum([each.sent for each in self._tries])

    def begin(self) -> None:
        """Set out."""
        self._pool.budget.in_flight += 1
        self._step(self._go_on)

    # --- the loop ---

    def _go_on(self) -> None:
        """Start what may be started and wait for what comes of it, or end where nothing can."""
        if not (self._launch() or self._under_way or self._waits_for_budget):
            self._fail()
            return
        now = self._means.clock()
        newest = self._tries[-1]
        until = self._give_up if newest.over else min(newest.late_at, self._give_up)
        if self._waits_for_budget:
            until = min(until, now + BUDGET_SECONDS)
        self._wait(max(MIN_WAIT_SECONDS, until - now), self._time_is_up)

    def _time_is_up(self) -> None:
        """Go on without an answer; where the loop stood still, after a look at what came meanwhile.

        uvloop's timers come before what the sockets have, and a pod without processor time for 100 ms would take every
        endpoint for a slow one.
        """
        if self._means.clock() - self._due > HELD_UP_SECONDS:
            self._wait(MIN_WAIT_SECONDS, self._still_no_answer)
        else:
            self._still_no_answer()

    def _still_no_answer(self) -> None:
        newest = self._tries[-1]
        if not newest.over and self._means.clock() >= newest.late_at:
            self._suspect(newest)
        self._go_on_or_end()

    def _attempt_ended(self, each: Try, result: Result) -> None:
        self._release(each)
        outcome = self._judge(each, result)
        if self._done is None:
            return
        if not isinstance(outcome, Failed):
            self._end(outcome)
            return
        self._take_note(each, outcome)
        if outcome.failure is FailureClass.THROTTLED and not self._under_way and self._rest():
            return
        self._go_on_or_end()

    def _go_on_or_end(self) -> None:
        left = self._give_up - self._means.clock()
        if self._under_way:
            goes_on = left > 0
        else:
            ambiguous = self._pool.config.on_ambiguous
            goes_on = left >= MIN_ATTEMPT_SECONDS and may_try_again(self._how, self._sent, ambiguous)
        if goes_on:
            self._go_on()
        else:
            self._fail()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = self._means.clock() + seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._step, then)

    def _step(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; a mistake of ours ends this journey and nothing else."""
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001  see above
            self._means.telemetry.emit(Unexpected("delivery", f"{type(error).__name__}: {error}"))
            if self._done is not None:
                self._how = Failed(FailureClass.AMBIGUOUS, BUG)
                self._end(self._undelivered())

    # --- its parts ---

    def _launch(self) -> bool:
        """Start the next attempt, if there is one that may be started."""
        self._waits_for_budget = False
        means, pool, under_way = self._means, self._pool, self._under_way
        now = means.clock()
        seconds = self._give_up - now
        if self._tries:
            connecting = sum([not each.sent for each in under_way])
            if self._sent + connecting >= MAX_ATTEMPTS or seconds < MIN_ATTEMPT_SECONDS:
                return False
        choice = self._choose()
        address = pool.find(choice.endpoint, choice.address) if choice else None
        if choice is None or address is None or means.tasks is None:
            return False
        doubles = self._how.failure is FailureClass.AMBIGUOUS or any(each.sent for each in under_way)
        if doubles and pool.config.on_ambiguous != "resend":
            return False
        if doubles and not self._pool.budget.allows:
            self._waits_for_budget = True
            return False
        first = next((each.choice.endpoint for each in self._tries if each.sent), self._ended_at) if doubles else None
        each = Try(choice, address, now, first)
        # Taken here and not when it ends: what starts in the same turn of the loop must see it.
        self._pool.budget.second_attempts += doubles
        address.on_trial = address.on_trial or choice.trial
        late_after = pool.judge.suspect_after(address.standing, min(pool.config.timeouts.attempt, seconds))
        each.late_at = now + late_after
        self._tries.append(each)
        each.attempt = self._post(each, seconds, means.tasks)
        return True

    def _post(self, each: Try, seconds: float, tasks: asyncio.TaskGroup) -> Attempt:
        """Send the events to the address of `each`."""
        ended = functools.partial(self._step, self._attempt_ended, each)
        return each.address.eventgate.post(self._events, self._headers, self._hasty, seconds, tasks, ended)

    def _choose(self) -> Choice | None:
        """Return the best address that the events were not tried at."""
        pool, now = self._pool, self._means.clock()
        for address in pool.addresses:
            if changes := pool.judge.time_passed(address.standing, now):
                tell(self._means.telemetry, address, changes)
        if not self._tries:
            pool.turn += 1
            choices = order(pool.candidates(), pool.config.failback, pool.turn, now)
            self._note_first(choices)
            return choices[0] if choices else None
        choices = order(pool.candidates(), pool.config.failback, pool.turn, now)
        choice = next_elsewhere(choices, self._tried, other_endpoint=self._sent > 0)
        # One endpoint alone is tried twice: a name with many servers behind it may well answer the second time.
        # So is one that only asked for a rest, see `_rest`.
        again = len(pool.endpoints) == 1 or self._how.failure is FailureClass.THROTTLED
        if choice is None and choices and again and len(self._tries) == 1 and not self._under_way:
            return choices[0]
        return choice

    def _note_first(self, choices: Sequence[Choice]) -> None:
        """Tell when another endpoint than before gets the events first."""
        pool = self._pool
        first = next((each.endpoint for each in choices if not each.trial), None)
        if first is not None and first != pool.first:
            before, pool.first = pool.first, first
            if before is not None:
                self._means.telemetry.emit(FailedOver(pool.name, before, first))

    def _judge(self, each: Try, result: Result) -> list[EventStatus] | Failed:
        """Take note of how an attempt went, for its address and for those who watch."""
        means, pool, address, choice = self._means, self._pool, each.address, each.choice
        now = means.clock()
        seconds = now - each.began
        sent_at = each.attempt.sent_at if each.attempt is not None else None
        if isinstance(result, Exception):
            means.telemetry.emit(Unexpected("delivery", f"{type(result).__name__}: {result}"))
            result = Failed(FailureClass.AMBIGUOUS, BUG)
        if each.first is not None and sent_at is not None:
            means.telemetry.emit(Resent(pool.name, each.first, len(self._events)))
        if not isinstance(result, Failed):
            means.telemetry.emit(PostAnswered(pool.name, choice.endpoint, len(result), seconds))
            server_seconds = now - (sent_at or each.began)
            changes = pool.judge.answered(address.standing, server_seconds, now, trial=choice.trial)
            tell(means.telemetry, address, changes)
            return placed(result, pool.name, choice.endpoint)
        means.telemetry.emit(PostFailed(pool.name, choice.endpoint, result.failure, result.reason, seconds))
        if result.failure in _FAULTS:
            jitter = means.jitter()
            changes = pool.judge.failed(address.standing, result.reason, now, jitter, trial=choice.trial)
            tell(means.telemetry, address, changes)
            address.check_now.set()
        elif choice.trial:
            tell(means.telemetry, address, pool.judge.answered(address.standing, seconds, now, trial=True))
        return result

    def _suspect(self, late: Try) -> None:
        """Doubt an address whose answer is late, have it checked, and give up on it if it is still connecting."""
        means, pool, address = self._means, self._pool, late.address
        now = means.clock()
        seconds = pool.judge.suspect_after(address.standing, pool.config.timeouts.attempt)
        tell(means.telemetry, address, pool.judge.late(address.standing, seconds, now))
        address.check_now.set()
        late.late_at = math.inf
        if not late.sent and self._choose() is not None:
            self._forget(late)
            words = f"still connecting after {seconds * 1000:.0f} ms"
            self._take_note(late, Failed(FailureClass.NEVER_SENT, words))
            if late.choice.trial:
                changes = pool.judge.failed(address.standing, words, now, means.jitter(), trial=True)
                tell(means.telemetry, address, changes)

    def _rest(self) -> bool:
        """Where there is no other, wait as long as a throttling endpoint asked for, or end if that is too long."""
        choice = self._choose()
        if choice is None or next_elsewhere([choice], self._tried, other_endpoint=False) is not None:
            return False
        now = self._means.clock()
        if self._how.retry_after > self._give_up - now - self._pool.config.timeouts.attempt:
            self._give_up = now
            return False
        self._wait(self._how.retry_after, self._go_on_or_end)
        return True

    def _take_note(self, each: Try, failed: Failed) -> None:
        """Take note of how an attempt ended; that the events may have been taken is never forgotten."""
        if self._how.failure is not FailureClass.AMBIGUOUS or failed.failure is FailureClass.AMBIGUOUS:
            self._how, self._ended_at = failed, each.choice.endpoint

    def _forget(self, each: Try) -> None:
        """Give up on an attempt that EventGate cannot have seen."""
        if each.attempt is not None:
            each.address.eventgate.give_up(each.attempt)
        self._release(each)

    def _release(self, each: Try) -> None:
        each.over = True
        self._pool.budget.second_attempts -= each.first is not None
        if each.choice.trial:
            each.address.on_trial = False

    # --- its end ---

    def _fail(self) -> None:
        for each in self._under_way:
            failure = FailureClass.AMBIGUOUS if each.sent else FailureClass.NEVER_SENT
            self._take_note(each, Failed(failure, f"no answer within {self._pool.config.timeouts.deadline:g} s"))
        self._end(self._undelivered())

    def _end(self, result: list[EventStatus] | Undelivered) -> None:
        """Tell the result; attempts that were sent go on, since what they do is worth knowing."""
        if self._timer is not None:
            self._timer.cancel()
        for each in self._under_way:
            if not each.sent:
                self._forget(each)
        self._pool.budget.in_flight -= 1
        done, self._done = self._done, None
        if done is not None:
            done(result)

    def _undelivered(self) -> Undelivered:
        upstream, how = self._pool.name, self._how
        if self._tries:
            where = f"{self._ended_at}: " if self._ended_at else ""
            message = f"not accepted by {upstream}: {where}{how.reason}"
            if how.failure is FailureClass.AMBIGUOUS:
                message += "; it may have been taken nevertheless"
        else:
            message = f"no endpoint of {upstream} is there to take it: {self._pool.state}"
        once = how.failure is FailureClass.REFUSED or (
            how.failure is FailureClass.AMBIGUOUS and self._pool.config.on_ambiguous == "fail"
        )
        return Undelivered(upstream, self._ended_at, how.failure, message, self._give_up, not once)
