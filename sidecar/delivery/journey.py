"""Delivers one load: the only retry loop.

The events go to the best address; if that fails or is late, to the next one. At most two attempts reach an endpoint,
both with the same bytes, and the first answer wins. A late attempt is abandoned only while it is still connecting: once
sent it may still be answered, and its result says something about its address.

The loop is `Journey._go_on`, which runs when an attempt ends or the timer fires. It is not a coroutine: a task would
cost more than everything else on the path of a single event.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sidecar.delivery.answers import Answers
from sidecar.delivery.retry import MAX_ATTEMPTS, Undelivered, may_try_again
from sidecar.delivery.tries import LoadTrace, Try
from sidecar.eventgate.client import Result
from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Load
from sidecar.events.results import BUG, EventStatus
from sidecar.telemetry.contained import unexpected
from sidecar.telemetry.happenings import FailedOver
from sidecar.telemetry.telemetry import Telemetry
from sidecar.timers import EARLY_SECONDS, Timers
from sidecar.upstreams.endpoints import Address, Pool, tell
from sidecar.upstreams.failover import Choice, next_elsewhere, order
from sidecar.upstreams.health import Health

MIN_ATTEMPT_SECONDS = 0.05
"""With less time left an attempt would only make the result ambiguous."""
BUDGET_SECONDS = 0.01
"""How often a journey that waits for the retry budget checks it."""
MIN_WAIT_SECONDS = 0.001
"""Keeps rounding from making a journey spin."""
OnEnd = Callable[[list[EventStatus] | Undelivered], None]
"""Called with the status of each event, in order, or why there is none."""


@dataclass(slots=True)
class Means:
    """What all journeys share."""

    telemetry: Telemetry
    jitter: Callable[[], float]
    """Returns numbers from 0 to 1."""
    clock: Callable[[], float]
    tasks: asyncio.TaskGroup | None = None
    """Runs connection attempts, which may outlive their requests."""
    replaced: bool = False
    """Whether other routes are in force now: loads of the spool have no further attempt, and are routed again."""
    timers: Timers[Journey] = field(default_factory=lambda: Timers(Journey.rung, Journey.put_off))


class Journey:
    """The attempts to deliver one load."""

    _then: Callable[[Journey], None]
    """Called when the timer fires; unbound, since a bound method would keep this journey in memory."""
    _waits_for_budget = False
    """Whether the next attempt waits for the retry budget."""
    _how = Failed(FailureClass.NEVER_SENT, "there was no time left to try")
    _ended_at = ""
    """Name of the endpoint of `_how`."""

    def __init__(
        self,
        pool: Pool,
        means: Means,
        load: Load,
        give_up: float,
        on_end: OnEnd,
        trace: LoadTrace | None = None,
    ) -> None:
        """`give_up`: the deadline, in seconds of the clock; `on_end` is called once with the result."""
        self._pool, self._means, self._load = pool, means, load
        self._give_up = give_up
        self._on_end: OnEnd | None = on_end
        self._trace = trace
        self._emit = means.telemetry.emit if trace is None else trace.emit
        self._tries: list[Try] = []
        self._answers: Answers | None = None  # until an attempt returns errors, its answer is the result

    @property
    def _tried(self) -> list[Address]:
        """Where not to go again; once another attempt was sent, one may go once more to where one was given up."""
        tried, free = [each.address for each in self._tries], [each.address for each in self._tries if each.given_up]
        return tried if not self._sent else [each for each in tried if each not in free or tried.count(each) > 1]

    @property
    def _under_way(self) -> list[Try]:
        """The attempts in progress."""
        return [each for each in self._tries if not each.over]

    @property
    def _sent(self) -> int:
        """The number of attempts that may have reached an endpoint."""
        return sum([each.sent for each in self._tries])

    def begin(self) -> None:
        """Start the first attempt."""
        self._pool.budget.in_flight += 1
        self._step(self._go_on)

    # --- the loop ---

    def _go_on(self) -> None:
        """Start the next attempt, if any, and wait; fail if there is nothing to wait for."""
        if not (self._launch() or self._under_way or self._waits_for_budget):
            self._fail()
            return
        now = self._means.clock()
        until = self._give_up
        if self._waits_for_budget:
            until = min(until, now + BUDGET_SECONDS)
        for each in self._tries:
            if not each.over:
                until = min(until, each.late_at, each.ends_by)
        self._wait(max(MIN_WAIT_SECONDS, until - now), Journey._time_is_up)

    def _time_is_up(self) -> None:
        """Handle attempts that are late or have timed out."""
        now = self._means.clock() + EARLY_SECONDS
        for each in self._under_way:
            if each.ends_by <= now:
                self._time_out(each)
                return
            if each.late_at <= now:
                self._suspect(each)
        self._go_on_or_end()

    def _attempt_ended(self, each: Try, result: Result) -> None:
        self._release(each)
        jitter = self._means.jitter
        outcome = each.judge(result, len(each.places), self._means.clock(), jitter)
        if isinstance(outcome, Failed):
            self._attempt_failed(each, outcome)
            return
        errors = each.erred = "error" in [status.status for status in outcome]
        errs_with_others = errors and each.errs_with_others(outcome)
        # An answer of a healthy address changes nothing, so it is recorded after the producers have theirs.
        decides = each.trial or errors or each.address.standing.health is not Health.HEALTHY
        if decides:
            each.note_answer(outcome)
        each.end_trace(outcome)
        if self._answers and self._answers.takes_more(each.places, outcome):
            for other in self._tries:
                if other.erred and other is not each:
                    other.note_that_another_took_them(self._means.clock(), jitter)
        if self._on_end is not None and (errors or self._answers):
            self._answers = self._answers or Answers(self._load)
            self._answers.learn(each.places, outcome, errors_with_others=errs_with_others or not errors)
            self._send_the_rest(self._answers)
        else:
            self._end(outcome)
        if not decides:
            each.note_answer(outcome)

    def _attempt_failed(self, each: Try, outcome: Failed) -> None:
        each.end_trace(outcome)
        self._take_note(each, outcome)
        if not (outcome.failure is FailureClass.THROTTLED and self._rest()):
            self._go_on_or_end()

    def _send_the_rest(self, answers: Answers) -> None:
        """Send the events with errors to the next endpoint.

        If another attempt with them is in progress, wait for it: it may have been accepted.
        """
        if not answers.places:
            self._end(answers.statuses(None))
        elif answers.cannot_be_told_apart:
            self._fail()
        else:
            self._go_on_or_end()

    def _time_out(self, each: Try) -> None:
        """End an attempt that has timed out."""
        seconds = each.ends_by - each.began
        failed = Failed(FailureClass.NEVER_SENT, f"cannot connect within {seconds:.2g} s")
        if each.sent:
            failed = Failed(FailureClass.AMBIGUOUS, f"no answer within {seconds:.2g} s")
        if each.attempt is not None:
            each.address.eventgate.give_up(each.attempt)
        self._attempt_ended(each, failed)

    def _go_on_or_end(self) -> None:
        if self._on_end is None:
            self._wait_for_the_rest()
            return
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

    def _wait(self, seconds: float, then: Callable[[Journey], None]) -> None:
        self._then = then
        self._means.timers.set(self, seconds)

    def rung(self) -> None:
        """Handle the timer."""
        self._step(self._then, self)

    def put_off(self, seconds: float) -> None:
        """Postpone all deadlines by `seconds`, in which the process was stalled."""
        self._give_up += seconds
        for each in self._under_way:
            each.put_off(seconds)

    def _step(self, step: Callable[..., None], *arguments: object) -> None:
        """Run a step; a bug in it ends this journey and nothing else."""
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001  see above
            self._emit(unexpected("delivery", error))
            if self._on_end is not None:
                self._how = Failed(FailureClass.AMBIGUOUS, BUG)
                self._end(self._undelivered())

    # --- its parts ---

    def _launch(self) -> bool:
        """Start the next attempt, if one is allowed."""
        self._waits_for_budget = False
        means, pool = self._means, self._pool
        now, doubles = means.clock(), False
        seconds = self._give_up - now
        if self._tries:
            under_way = self._under_way
            doubles = self._how.failure is FailureClass.AMBIGUOUS or any(each.sent for each in under_way)
            connecting = sum([not each.sent for each in under_way])
            if self._sent + connecting >= MAX_ATTEMPTS or seconds < MIN_ATTEMPT_SECONDS:
                return False
        choice = None if means.replaced and self._load.alone else self._choose()
        if choice is None or means.tasks is None or (doubles and pool.config.on_ambiguous != "resend"):
            return False
        # A healthy endpoint can take what is stuck at another; one that is late too could become slower.
        if doubles and choice.address.standing.health is not Health.HEALTHY and not pool.budget.allows:
            self._waits_for_budget = True
            return False
        first = next((e.address.endpoint.name for e in self._tries if e.sent), self._ended_at) if doubles else None
        ends_by = min(now + pool.config.timeouts.attempt, self._give_up)
        load, answers = self._load, self._answers
        load, places = (answers.part, answers.places) if answers else (load, range(len(load.events)))
        again = any(each.sent and each.address is choice.address for each in self._tries)
        each = Try(pool, choice.address, choice.trial, now, ends_by, load, places, first, again, self._emit)
        self._tries.append(each)
        # Counted at once, so that attempts started in the same turn of the loop see it.
        pool.budget.second_attempts += doubles
        address = choice.address
        address.on_trial = address.on_trial or choice.trial
        if self._trace is not None:
            each.trace = self._trace.posted(load, address, len(self._tries) - 1)
            each.emit, load = each.trace.emit, each.trace.load
        ended = functools.partial(self._step, self._attempt_ended, each)
        each.attempt = address.eventgate.post(load, means.tasks, ended)
        # Set after the attempt was started.
        each.late_at = now + pool.judge.suspect_after(address.standing, each.ends_by - now)
        return True

    def _choose(self) -> Choice[Address] | None:
        """Return the best address not tried yet."""
        pool, now = self._pool, self._means.clock()
        addresses = pool.addresses
        for address in addresses:
            if address.standing.health is Health.EJECTED:
                tell(self._emit, address, pool.judge.time_passed(address.standing, now))
        pool.turn += not self._tries
        choices = order(addresses, pool.config.failback, pool.turn, now)
        if not self._tries:
            self._note_first(choices)
            return choices[0] if choices else None
        choice = next_elsewhere(choices, self._tried, other_endpoint=self._sent > 0)
        # Tried twice: the only endpoint left (a packet was lost, one of many servers fails), or one that throttled.
        only = len({each.address.endpoint for each in choices}) == 1 and not self._answers
        again = only or self._how.failure is FailureClass.THROTTLED
        if choice is None and choices and again and len(self._tries) == 1 and not self._under_way:
            return choices[0]
        return choice

    def _note_first(self, choices: Sequence[Choice[Address]]) -> None:
        """Report a failover if another endpoint than before comes first."""
        pool = self._pool
        for each in choices:
            if not each.trial:
                before, first = pool.first, each.address.endpoint.name
                pool.first = first
                if before not in (None, first):
                    self._emit(FailedOver(pool.name, before, first))
                return

    def _suspect(self, late: Try) -> None:
        """Suspect an address whose answer is late, request a check, and abandon the attempt if still connecting."""
        means, pool, address = self._means, self._pool, late.address
        now = means.clock()
        seconds = pool.judge.suspect_after(address.standing, pool.config.timeouts.attempt)
        tell(self._emit, address, pool.judge.late(address.standing, seconds, now))
        address.check_now.set()
        late.late_at = math.inf
        if not late.sent and self._choose() is not None:
            self._forget(late)
            words = f"still connecting after {seconds * 1000:.0f} ms"
            self._take_note(late, Failed(FailureClass.NEVER_SENT, words))
            if late.trial:
                changes = pool.judge.failed(address.standing, words, now, means.jitter(), trial=True)
                tell(self._emit, address, changes)

    def _rest(self) -> bool:
        """If there is no other endpoint, wait for the throttling one's Retry-After; give up if that is too long."""
        if self._on_end is None or self._under_way:
            return False
        choice = self._choose()
        if choice is None or next_elsewhere([choice], self._tried, other_endpoint=False) is not None:
            return False
        now = self._means.clock()
        if self._how.retry_after > self._give_up - now - self._pool.config.timeouts.attempt:
            self._give_up = now
            return False
        self._wait(self._how.retry_after, Journey._go_on_or_end)
        return True

    def _take_note(self, each: Try, failed: Failed) -> None:
        """Record a failure; an ambiguous one is only replaced by another."""
        if self._how.failure is not FailureClass.AMBIGUOUS or failed.failure is FailureClass.AMBIGUOUS:
            self._how, self._ended_at = failed, each.address.endpoint.name

    def _forget(self, each: Try) -> None:
        """Abandon an attempt that EventGate cannot have seen."""
        if each.attempt is not None:
            each.address.eventgate.give_up(each.attempt)
        self._release(each)
        each.end_trace(Failed(FailureClass.NEVER_SENT, "given up while it was connecting"))

    def _release(self, each: Try) -> None:
        each.over = True
        self._pool.budget.second_attempts -= each.first is not None
        if each.trial:
            each.address.on_trial = False

    # --- its end ---

    def _fail(self) -> None:
        for each in self._under_way:
            failure = FailureClass.AMBIGUOUS if each.sent else FailureClass.NEVER_SENT
            self._take_note(each, Failed(failure, f"no answer within {self._pool.config.timeouts.deadline:g} s"))
        undelivered = self._undelivered()
        if self._answers:
            unknown = undelivered.status_of if self._how.failure is FailureClass.AMBIGUOUS else None
            self._end(self._answers.statuses(unknown))
        else:
            self._end(undelivered)

    def _end(self, result: list[EventStatus] | Undelivered) -> None:
        """Report the result once; attempts that were sent continue, since their results concern their addresses."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            self._pool.budget.in_flight -= 1
            if self._trace is not None:
                self._trace.ended(result)
            on_end(result)
            for each in self._tries:
                if not (each.over or each.sent):
                    self._forget(each)
        self._wait_for_the_rest()

    def _wait_for_the_rest(self) -> None:
        """After the journey's end, time out the attempts still in progress."""
        until = math.inf
        for each in self._tries:
            if not each.over:
                each.late_at = math.inf  # no longer matters
                until = min(until, each.ends_by)
        if until < math.inf:
            self._wait(max(MIN_WAIT_SECONDS, until - self._means.clock()), Journey._time_is_up)
        else:
            self._means.timers.clear(self)

    def _undelivered(self) -> Undelivered:
        upstream, how = self._pool.name, self._how
        if self._tries:
            where = f"{self._ended_at}: " if self._ended_at else ""
            message = f"not accepted by {upstream}: {where}{how.reason}"
            if how.failure is FailureClass.AMBIGUOUS:
                message += "; it may have been taken nevertheless"
        else:
            message = f"no endpoint of {upstream} is available: {self._pool.state}"
        once = how.failure is FailureClass.REFUSED or (
            how.failure is FailureClass.AMBIGUOUS and self._pool.config.on_ambiguous == "fail"
        )
        return Undelivered(upstream, self._ended_at, how.failure, message, self._give_up, not once)
