"""400 sidecars before one EventGate, in the time of the running loop: the real monitor and replay, each with chance.

Only the network is made up. `docs/herd.md` shows what comes out; `python -m tests.herd` prints it.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter, deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import looptime

from sidecar.eventgate.healthcheck import CheckResult, Target
from sidecar.events.results import EventStatus, Outcome, failed
from sidecar.spool.record import Quota, Spooled, SpoolState, Totals
from sidecar.spool.replay import Passage, Replay
from sidecar.spool.store import Spool
from sidecar.upstreams.addresses import Found
from sidecar.upstreams.endpoints import Pool
from sidecar.upstreams.health import OUT
from sidecar.upstreams.monitor import Monitor
from tests.scripted import Recorder, bare_pool, now

PODS = 400
CHECK_SECONDS = 0.005
POSTS_PER_SECOND = 2.0
"""Of each pod, where it posts at all."""
DOWN_AT = 30.0
AFTER_SECONDS = 40.0
CAPACITY = 35_000.0
"""Events a second that one EventGate takes in arrays; docs/performance.md has what was measured."""
ATTEMPT_SECONDS = 1.5
"""`timeouts.attempt`: a POST that is not answered by then counts as failed, and EventGate works on it all the same."""


@dataclass
class Load:
    """What EventGate saw: something, how often in each second."""

    seconds: Counter[int] = field(default_factory=Counter)

    def add(self, count: int = 1) -> None:
        """Count it now."""
        self.seconds[int(now())] += count

    def peak(self, begin: float = 0, end: float = math.inf) -> int:
        """Return the most in one second."""
        return max((count for second, count in self.seconds.items() if begin <= second < end), default=0)

    def mean(self, begin: float, end: float) -> float:
        """Return the mean over seconds."""
        return sum(count for second, count in self.seconds.items() if begin <= second < end) / (end - begin)


@dataclass(frozen=True)
class Checked:
    """Checks a second of 400 pods at one address of EventGate."""

    starting: int
    """The most in the first seconds."""
    running: float
    """The mean before it goes down."""
    running_peak: int
    down: float
    down_peak: int
    back: int
    """The most in the ten seconds after it came back."""
    after: float
    after_peak: int


async def checks(down: float, how: str, *, posting: bool, pods: int = PODS) -> Checked:
    """Start so many pods within a second; after half a minute EventGate `refuses` or `hangs`, for so long."""
    chance = random.Random(400)
    load, life = Load(), DOWN_AT + down + AFTER_SECONDS

    async def check(_: Target, limit: float) -> CheckResult:
        load.add()
        out = DOWN_AT <= now() < DOWN_AT + down
        await asyncio.sleep(limit if out and how == "hangs" else CHECK_SECONDS)
        return CheckResult(words=how) if out else CheckResult(passed=True, words="answers")

    async def pod() -> None:
        await asyncio.sleep(chance.random())
        pool = bare_pool("eqiad")
        monitor = Monitor([pool], _look_up, check, Recorder(), chance.random, now)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(monitor.run())
            await (_post(pool, chance, down, life) if posting else asyncio.sleep(life))
            running.cancel()

    await asyncio.gather(*(pod() for _ in range(pods)))
    up = DOWN_AT + down
    return Checked(
        starting=load.peak(0, 10),
        running=load.mean(12, DOWN_AT),
        running_peak=load.peak(12, DOWN_AT),
        down=load.mean(DOWN_AT, up),
        down_peak=load.peak(DOWN_AT, up),
        back=load.peak(up, up + 10),
        after=load.mean(up + 12, life - 2),
        after_peak=load.peak(up + 12, life - 2),
    )


async def _look_up(_: str) -> Found:
    return Found(("10.1.0.1",))


async def _post(pool: Pool, chance: random.Random, down: float, life: float) -> None:
    """Do to the pool what POSTs do: an answer counts for the address, a failure against it, and asks for a check."""
    while now() < life:
        await asyncio.sleep(chance.expovariate(POSTS_PER_SECOND))
        for address in pool.addresses:
            if DOWN_AT <= now() < DOWN_AT + down:
                pool.judge.failed(address.standing, "refused", now(), chance.random())
                address.check_now.set()
            else:
                pool.judge.answered(address.standing, 0.01, now(), trial=address.standing.health in OUT)


# --- the spools after an outage ---


@dataclass
class EventGateQueue:
    """One EventGate that takes so many events a second, in the order in which they came."""

    free_at: float = 0.0
    posts: Load = field(default_factory=Load)
    events: Load = field(default_factory=Load)
    in_flight: int = 0
    most_in_flight: int = 0
    took: set[tuple[int, int]] = field(default_factory=set)
    twice: int = 0
    longest: float = 0.0
    """Seconds that anybody would have waited for an answer."""

    async def post(self, pod: int, events: Sequence[Spooled]) -> bool:
        """Take events; return whether the answer came in time."""
        self.posts.add()
        self.events.add(len(events))
        self.free_at = max(self.free_at, now()) + len(events) / CAPACITY
        wait = self.free_at - now()
        self.longest = max(self.longest, wait)
        new = {(pod, event.arrival) for event in events}
        self.twice += len(new & self.took)
        self.took |= new
        self.in_flight += len(events)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(min(wait + CHECK_SECONDS, ATTEMPT_SECONDS))
        self.in_flight -= len(events)
        return wait + CHECK_SECONDS < ATTEMPT_SECONDS


class Waiting:
    """What `replay` needs of a spool, without a disk."""

    def __init__(self, events: int) -> None:
        """So many events wait."""
        made = (
            Spooled(arrival=number, upstream="main", stream="s", body=b"", first_seen=0.0) for number in range(events)
        )
        self.events: deque[Spooled] = deque(made)
        self.left = events
        self._empty = asyncio.Event()

    async def opened(self) -> None:
        """It is open."""

    def waits_for(self, _: str) -> bool:
        """Whether something waits."""
        return bool(self.events)

    async def something_for(self, _: str) -> None:
        """Return while something waits."""
        if not self.events:
            await self._empty.wait()

    def wake(self) -> None:
        """Let nobody wait any more."""
        self._empty.set()

    @property
    def state(self) -> SpoolState:
        """Nobody looks at it but for upstreams that are gone."""
        return SpoolState("", "", Totals(), Quota(), 0.0, 0)

    def taken(self, _: str) -> None:
        """Nobody asks."""

    def last_taken(self, _: str) -> None:
        """No event is at fault."""

    async def hurry(self, _: str) -> None:
        """None is set back."""

    async def hand_out(self, _: str, events: int, __: int, **___: bool) -> list[Spooled]:
        """Return the first."""
        return [self.events.popleft() for _ in range(min(events, len(self.events)))]

    async def delivered(self, events: Iterable[Spooled]) -> None:
        """Forget them."""
        self.left -= len(list(events))

    async def failed(self, event: Spooled, *_: Any, **__: Any) -> None:
        """Keep one."""
        self.events.appendleft(event)

    def release(self, events: Sequence[Spooled]) -> None:
        """Keep them."""
        self.events.extendleft(reversed(events))


@dataclass(frozen=True)
class Replayed:
    """What the spools of 400 pods did to one EventGate after an outage."""

    waiting: int
    """Events in all spools together."""
    seconds: float
    """Until all were empty."""
    posts_peak: int
    """POSTs in the busiest second."""
    in_flight: int
    """Events, at the most."""
    longest: float
    """Seconds until an answer, at the most: what a live event would have waited."""
    twice: int
    """Events that were sent again, although they had been taken."""


async def replays(waiting: int, *, pods: int = PODS) -> Replayed:
    """Let the spools of so many pods, so many events in each, learn within 5 s that EventGate is back."""
    chance = random.Random(400)
    gate, clock = EventGateQueue(), now()

    async def pod(number: int) -> None:
        spool = Waiting(waiting)

        async def send(_: str, events: Sequence[Spooled]) -> list[EventStatus]:
            in_time = await gate.post(number, events)
            return [_status(event, in_time=in_time) for event in events]

        replay = Replay(cast("Spool", spool), Recorder(), chance.random, now)
        replay.follow(Passage(["main"], send, lambda _: False, lambda event: event))
        await asyncio.sleep(5 * chance.random())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(replay.run())
            while spool.left and now() - clock < 3600:  # noqa: ASYNC110  it is a simulation
                await asyncio.sleep(0.25)
            running.cancel()

    await asyncio.gather(*(pod(number) for number in range(pods)))
    return Replayed(pods * waiting, now() - clock, gate.posts.peak(), gate.most_in_flight, gate.longest, gate.twice)


def _status(event: Spooled, *, in_time: bool) -> EventStatus:
    if in_time:
        return EventStatus("success", Outcome.DELIVERED)
    return failed(event.body, "no answer in time", unreachable=True)


OUTAGES: dict[str, tuple[float, str, bool]] = {
    "10 s (a restart), pods idle": (10.0, "refuses", False),
    "a minute, refusing, pods idle": (60.0, "refuses", False),
    "a minute, hanging, pods idle": (60.0, "hangs", False),
    "a minute, refusing, pods posting": (60.0, "refuses", True),
    "a minute, hanging, pods posting": (60.0, "hangs", True),
}
"""What happens → for how long, how, and whether each pod posts two events a second."""
BACKLOGS = (100, 900, 3600)
"""Events in each spool."""


def in_time_of_its_own(run: Coroutine[Any, Any, Any]) -> Any:
    """Run it by a clock that does not wait."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(run)


def main() -> None:
    """Print what comes of each outage and of each backlog; that takes minutes."""
    for title, (down, how, posting) in OUTAGES.items():
        print(title, in_time_of_its_own(checks(down, how, posting=posting)), flush=True)  # noqa: T201
    for waiting in BACKLOGS:
        print(in_time_of_its_own(replays(waiting)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
