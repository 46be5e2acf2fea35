"""Get events accepted: where, how often, until when. The one loop that tries again.

A request's events go to the best address. If it fails, or is late, they go to the next: at most two attempts
reach an endpoint, both carry the same bytes, and the first answer wins. A late attempt is not given up: it may
still answer, and what it did is worth knowing; only one that is still connecting is cancelled, which costs nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from sidecar.endpoints import FIRST_ROUND_SECONDS, Address, Pool, tell
from sidecar.event import Outgoing
from sidecar.eventgate import Attempt
from sidecar.failover import Choice, next_elsewhere, order
from sidecar.results import EventStatus, failed
from sidecar.retry import MAX_ATTEMPTS, Budget, Failed, FailureClass, may_try_again
from sidecar.telemetry import FailedOver, PostAnswered, PostFailed, Resent, Telemetry, Unexpected

MIN_ATTEMPT_SECONDS = 0.05
"""With less time left than this an attempt would only make the events ambiguous."""
BUDGET_SECONDS = 0.01
"""How often events that wait for the retry budget look whether there is room."""

_FAULTS = (FailureClass.NEVER_SENT, FailureClass.INFRASTRUCTURE, FailureClass.AMBIGUOUS)
"""Failures that speak against the address; the others prove that it is there."""

Result = list[EventStatus] | Failed


@dataclass(eq=False)
class _Try:
    """An attempt under way."""

    choice: Choice
    address: Address
    attempt: Attempt
    task: asyncio.Task[Result]
    late_at: float
    given_up: bool = False
    """It was cancelled while still connecting; its task may take a moment to end."""

    @property
    def sent(self) -> bool:
        """Whether it may have reached the endpoint."""
        return self.attempt.sent_at is not None

    def give_up(self) -> None:
        """Cancel it, unless EventGate may have seen it already."""
        if not self.sent:
            self.given_up = True
            self.task.cancel()


@dataclass
class _Journey:
    """What was tried for one group of events."""

    upstream: str
    events: Sequence[Outgoing]
    headers: Sequence[tuple[str, str]]
    hasty: bool
    give_up: float
    tries: list[_Try] = field(default_factory=list)
    waits_for_budget: bool = False
    """Whether there is an address to go to next, but no room in the budget yet."""
    end: Failed = field(default_factory=lambda: Failed(FailureClass.NEVER_SENT, "there was no time left to try"))
    ended_at: str = ""
    """Name of the endpoint that `end` is from."""

    @property
    def tried(self) -> list[Choice]:
        """Everything tried so far."""
        return [each.choice for each in self.tries]

    @property
    def under_way(self) -> list[_Try]:
        """The attempts that have not ended."""
        return [each for each in self.tries if not each.given_up and not each.task.done()]

    @property
    def sent(self) -> int:
        """How many attempts may have reached an endpoint."""
        return sum(each.sent for each in self.tries)

    @property
    def may_have_been_taken(self) -> bool:
        """Whether EventGate may have taken the events without our knowing."""
        return self.end.failure is FailureClass.AMBIGUOUS or any(each.sent for each in self.under_way)

    def ended(self, each: _Try, failed: Failed) -> None:
        """Take note of how an attempt ended; that the events may have been taken is never forgotten."""
        if self.end.failure is not FailureClass.AMBIGUOUS or failed.failure is FailureClass.AMBIGUOUS:
            self.end, self.ended_at = failed, each.choice.endpoint


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

    def status_of(self, event: Outgoing) -> EventStatus:
        """Return the status of one of the events."""
        unreachable = self.failure is not FailureClass.REFUSED
        status = failed(event.index, event.body, self.message, unreachable)
        return msgspec.structs.replace(status, upstream=self.upstream, endpoint=self.endpoint)


class Delivery:
    """Sends events to the endpoints of each upstream."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        telemetry: Telemetry,
        jitter: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pools` are filled by `monitor`; `jitter` gives numbers from 0 to 1."""
        self._pools = pools
        self._telemetry = telemetry
        self._jitter = jitter
        self._clock = clock
        self._budgets = {name: Budget() for name in pools}
        self._first: dict[str, str] = {}
        self._turn = 0
        self._tasks: asyncio.TaskGroup | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Run attempts in `tasks` from now on: they may outlive the request they are for."""
        self._tasks = tasks

    async def deliver(
        self,
        upstream: str,
        events: Sequence[Outgoing],
        headers: Sequence[tuple[str, str]],
        hasty: bool,
        give_up: float | None = None,
    ) -> list[EventStatus] | Undelivered:
        """Send `events` as one array to `upstream`; return their statuses, in their order.

        Ends by `give_up`, in seconds of the clock; where that is not given, within the upstream's deadline.
        """
        pool, budget = self._pools[upstream], self._budgets[upstream]
        if give_up is None:
            give_up = self._clock() + pool.config.timeouts.deadline
        if not pool.looked_at.is_set():
            await pool.first_round(min(FIRST_ROUND_SECONDS, pool.config.timeouts.deadline))
        journey = _Journey(upstream, events, headers, hasty, give_up)
        budget.in_flight += 1
        try:
            while self._launch(pool, budget, journey) or journey.under_way or journey.waits_for_budget:
                statuses = await self._watch(pool, journey)
                if statuses is not None:
                    return statuses
                if not self._may_go_on(pool, journey):
                    break
        finally:
            budget.in_flight -= 1
        for each in journey.under_way:
            each.give_up()
            failure = FailureClass.AMBIGUOUS if each.sent else FailureClass.NEVER_SENT
            journey.ended(each, Failed(failure, f"no answer within {pool.config.timeouts.deadline:g} s"))
        return _undelivered(upstream, pool, journey, give_up)

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            for address in pool.addresses:
                await address.eventgate.aclose()

    def _may_go_on(self, pool: Pool, journey: _Journey) -> bool:
        left = journey.give_up - self._clock()
        if journey.under_way:
            return left > 0
        return left >= MIN_ATTEMPT_SECONDS and may_try_again(journey.end, journey.sent, pool.config.on_ambiguous)

    def _launch(self, pool: Pool, budget: Budget, journey: _Journey) -> bool:
        """Start the next attempt, if there is one that may be started."""
        journey.waits_for_budget = False
        connecting = sum(not each.sent for each in journey.under_way)
        seconds = journey.give_up - self._clock()
        if journey.sent + connecting >= MAX_ATTEMPTS or (journey.tries and seconds < MIN_ATTEMPT_SECONDS):
            return False
        choice = self._choose(pool, journey)
        address = pool.find(choice.endpoint, choice.address) if choice else None
        if choice is None or address is None or self._tasks is None:
            return False
        doubles = journey.may_have_been_taken
        if doubles and pool.config.on_ambiguous == "fail":
            return False
        if doubles and not budget.allows:
            journey.waits_for_budget = True
            return False
        first = next((each.choice.endpoint for each in journey.tries if each.sent), journey.ended_at)

        def release(_: object) -> None:
            budget.second_attempts -= doubles
            if choice.trial:
                address.on_trial = False

        # Taken here and not by the attempt itself: what starts in the same turn of the loop must see it.
        budget.second_attempts += doubles
        address.on_trial = address.on_trial or choice.trial
        attempt = Attempt()
        task = self._tasks.create_task(
            self._attempt(pool, address, choice, journey, attempt, first if doubles else None)
        )
        task.add_done_callback(release)
        late_after = pool.judge.suspect_after(address.standing, min(pool.config.timeouts.attempt, seconds))
        journey.tries.append(_Try(choice, address, attempt, task, self._clock() + late_after))
        return True

    def _choose(self, pool: Pool, journey: _Journey) -> Choice | None:
        """Return the best address that these events were not tried at."""
        now = self._clock()
        for address in pool.addresses:
            tell(self._telemetry, address, pool.judge.time_passed(address.standing, now))
        if not journey.tries:
            self._turn += 1
        choices = order(pool.candidates(), pool.config.failback, self._turn, now)
        if not journey.tries:
            self._note_first(journey.upstream, choices)
        choice = next_elsewhere(choices, journey.tried, other_endpoint=journey.sent > 0)
        # One endpoint alone is tried twice: a name with many servers behind it may well answer the second time.
        # So is one that only asked for a rest, see `_let_rest`.
        again = len(pool.endpoints) == 1 or journey.end.failure is FailureClass.THROTTLED
        if choice is None and choices and again and len(journey.tries) == 1 and not journey.under_way:
            return choices[0]
        return choice

    def _note_first(self, upstream: str, choices: Sequence[Choice]) -> None:
        first = next((each.endpoint for each in choices if not each.trial), None)
        before = self._first.get(upstream)
        if first is not None and first != before:
            self._first[upstream] = first
            if before is not None:
                self._telemetry.emit(FailedOver(upstream, before, first))

    async def _watch(self, pool: Pool, journey: _Journey) -> list[EventStatus] | None:
        """Wait until an attempt ends or is late; return its verdict, or None where another may start."""
        newest = journey.tries[-1]
        until = min(newest.late_at, journey.give_up) if newest in journey.under_way else journey.give_up
        wait = max(0.001, until - self._clock())  # rounding must not make it spin
        done = await _any_of(
            [each.task for each in journey.under_way], min(wait, BUDGET_SECONDS) if journey.waits_for_budget else wait
        )
        for each in journey.tries:
            if each.task not in done or each.task.cancelled():
                continue
            result = each.task.result()
            if not isinstance(result, Failed):
                for other in journey.under_way:
                    other.give_up()
                return result
            journey.ended(each, result)
        if not done and newest in journey.under_way and self._clock() >= newest.late_at:
            self._suspect(pool, journey, newest)
        if journey.end.failure is FailureClass.THROTTLED and not journey.under_way:
            await self._let_rest(pool, journey)
        return None

    def _suspect(self, pool: Pool, journey: _Journey, late: _Try) -> None:
        """Doubt an address whose answer is late, have it checked, and give up on it if it is still connecting."""
        now = self._clock()
        seconds = pool.judge.suspect_after(late.address.standing, pool.config.timeouts.attempt)
        tell(self._telemetry, late.address, pool.judge.late(late.address.standing, seconds, now))
        late.address.check_now.set()
        late.late_at = math.inf
        if not late.sent and self._choose(pool, journey) is not None:
            late.give_up()
            words = f"still connecting after {seconds * 1000:.0f} ms"
            journey.ended(late, Failed(FailureClass.NEVER_SENT, words))
            if late.choice.trial:
                changes = pool.judge.failed(late.address.standing, words, now, self._jitter(), trial=True)
                tell(self._telemetry, late.address, changes)

    async def _let_rest(self, pool: Pool, journey: _Journey) -> None:
        """Where there is no other, wait as long as a throttling endpoint asked for, or end if that is too long."""
        choice = self._choose(pool, journey)
        if choice is None or next_elsewhere([choice], journey.tried, other_endpoint=False) is not None:
            return
        left = journey.give_up - self._clock() - pool.config.timeouts.attempt
        if journey.end.retry_after > left:
            journey.give_up = self._clock()
            return
        await asyncio.sleep(journey.end.retry_after)

    async def _attempt(
        self,
        pool: Pool,
        address: Address,
        choice: Choice,
        journey: _Journey,
        attempt: Attempt,
        first: str | None,
    ) -> Result:
        """POST once, and take note of how it went; runs on when its journey is over.

        `first`: the endpoint that may have taken the events already.
        """
        start = self._clock()
        try:
            result = await address.eventgate.post(
                journey.events, journey.headers, journey.hasty, journey.give_up - start, attempt
            )
        except Exception as error:  # noqa: BLE001  a bug of ours must not end the task group, and with it everything
            self._telemetry.emit(Unexpected("delivery", f"{type(error).__name__}: {error}"))
            result = Failed(FailureClass.AMBIGUOUS, "the sidecar met an error of its own; its log has more")
        now = self._clock()
        seconds = now - start
        if first is not None and attempt.sent_at is not None:
            self._telemetry.emit(Resent(pool.name, first, len(journey.events)))
        if not isinstance(result, Failed):
            self._telemetry.emit(PostAnswered(pool.name, choice.endpoint, len(journey.events), seconds))
            server_seconds = now - (attempt.sent_at or start)
            changes = pool.judge.answered(address.standing, server_seconds, now, trial=choice.trial)
            tell(self._telemetry, address, changes)
            return [msgspec.structs.replace(each, upstream=pool.name, endpoint=choice.endpoint) for each in result]
        self._telemetry.emit(PostFailed(pool.name, choice.endpoint, result.failure, result.reason, seconds))
        if result.failure in _FAULTS:
            changes = pool.judge.failed(address.standing, result.reason, now, self._jitter(), trial=choice.trial)
            tell(self._telemetry, address, changes)
            address.check_now.set()
        elif choice.trial:
            tell(self._telemetry, address, pool.judge.answered(address.standing, seconds, now, trial=True))
        return result


async def _any_of(tasks: Sequence[asyncio.Task[Result]], seconds: float) -> set[asyncio.Task[Result]]:
    """Wait until one of `tasks` is done, `seconds` at most; where there are none, just wait."""
    if not tasks:
        await asyncio.sleep(seconds)
        return set()
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return done


def _undelivered(upstream: str, pool: Pool, journey: _Journey, give_up: float) -> Undelivered:
    if journey.tries:
        where = f"{journey.ended_at}: " if journey.ended_at else ""
        message = f"not accepted by {upstream}: {where}{journey.end.reason}"
        if journey.end.failure is FailureClass.AMBIGUOUS:
            message += "; it may have been taken nevertheless"
    else:
        message = f"no endpoint of {upstream} is there to take it: {_state_of(pool)}"
    return Undelivered(upstream, journey.ended_at, journey.end.failure, message, give_up)


def _state_of(pool: Pool) -> str:
    words = []
    for endpoint in pool.endpoints:
        if not endpoint.addresses:
            words.append(f"{endpoint.name}: {endpoint.known.problem or 'no address'}")
        words += [f"{endpoint.name}: {each.standing}" for each in endpoint.addresses.values()]
    return "; ".join(words)
