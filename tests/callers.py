"""Callers of a coalescer, and a delivery that answers like EventGate, in the time of the running loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from sidecar.delivery.coalescer import Coalescer
from sidecar.delivery.journey import OnEnd
from sidecar.delivery.retry import Undelivered
from sidecar.delivery.sender import Sender
from sidecar.eventgate.failures import FailureClass
from sidecar.eventgate.verdict import read
from sidecar.events.outgoing import Headers, Load, Outgoing
from sidecar.events.results import EventStatus
from sidecar.routes.language.config import Coalesce
from tests.scripted import Recorder, now

AGENT: Headers = (("user-agent", "model/1"),)
WHOLE = {
    "poison": FailureClass.REFUSED,
    "crash": FailureClass.INFRASTRUCTURE,
    "lost": FailureClass.AMBIGUOUS,
}
"""Kinds of events that leave their whole array without a verdict, however small it is."""
_numbers = itertools.count()


def event(kind: str = "good", id: str | None = "", index: int = 0, *, needs_request_id: bool = False) -> Outgoing:  # noqa: A002
    """Return a new event; its kind, which is its stream, decides its status."""
    number = next(_numbers)
    id = f"id-{number}" if id == "" else id  # noqa: A001
    body = f'{{"n":{number},"meta":{{"id":"{id}"}}}}'.encode()
    return Outgoing(index, body, id, kind, needs_request_id)


def request(*kinds: str) -> list[Outgoing]:
    """Return the events of one POST."""
    return [event(kind, index=index) for index, kind in enumerate(kinds or ("good",))]


@dataclass
class Array:
    """A received array."""

    begun: float
    events: list[Outgoing]
    headers: Headers
    hasty: bool
    doubted: bool
    ended: float = math.inf


@dataclass
class ScriptedSender(Sender):
    """Takes `takes[0]` seconds for its first array and so on, then `otherwise`; answers like EventGate."""

    group: asyncio.TaskGroup
    takes: list[float] = field(default_factory=list)
    otherwise: float = 0.03
    deadline: float = 60.0
    arrays: list[Array] = field(default_factory=list)

    def send(self, load: Load, on_end: OnEnd, give_up: float | None = None, since: float | None = None) -> None:
        """Take a load; as with the real one, a failure has only the event's id."""
        assert since is None or since <= now()
        if give_up is None and since is not None:
            give_up = since + self.deadline
        self.group.create_task(self._play(load, on_end, give_up))

    async def _play(self, load: Load, on_end: OnEnd, give_up: float | None) -> None:
        on_end(await self._end_of(load, give_up))

    async def _end_of(self, load: Load, give_up: float | None) -> list[EventStatus] | Undelivered:
        events = load.events
        array = Array(now(), list(events), load.headers, load.hasty, load.doubted)
        give_up = give_up or now() + self.deadline
        self.arrays.append(array)
        await asyncio.sleep(self.takes.pop(0) if self.takes else self.otherwise)
        array.ended = now()
        kinds = [each.stream for each in events]
        for kind, failure in WHOLE.items():
            if kind in kinds:
                return Undelivered(load.upstream, "eqiad", failure, f"there is {kind} in it", give_up)
        return verdict(events)

    @property
    def sizes(self) -> list[int]:
        """The number of events of each array."""
        return [len(array.events) for array in self.arrays]

    @property
    def most_at_once(self) -> int:
        """The maximum number of arrays in flight."""
        return max(sum(a.begun <= b.begun < a.ended for a in self.arrays) for b in self.arrays)


def verdict(events: Sequence[Outgoing]) -> list[EventStatus]:
    """Return the verdict in EventGate's answer to an array of these events."""
    invalid, error = (
        [b'{"status":"%b","event":%b}' % (kind.encode(), each.body) for each in events if each.stream == kind]
        for kind in ("invalid", "error")
    )
    failures = len(invalid) + len(error)
    status = 201 if not failures else 400 if len(invalid) == len(events) else 500 if failures == len(events) else 207
    body = b'{"invalid":[%b],"error":[%b]}' % (b",".join(invalid), b",".join(error))
    statuses = read(status, "", body, events, hasty=False)
    assert statuses is not None
    return statuses


@contextlib.asynccontextmanager
async def coalescing(
    *takes: float, otherwise: float = 0.03, **limits: object
) -> AsyncIterator[tuple[Coalescer, ScriptedSender, asyncio.TaskGroup]]:
    """Run a coalescer; yield it, its delivery, and a task group for its callers."""
    async with asyncio.TaskGroup() as tasks:
        delivery = ScriptedSender(tasks, list(takes), otherwise)
        coalesce = Coalesce.read({"linger": "5ms", **limits})
        coalescer = Coalescer(delivery, {"main": coalesce}, Recorder(), now)
        yield coalescer, delivery, tasks
    assert coalescer._rooms == {}


@dataclass
class Caller:
    """One POST and its result."""

    statuses: list[EventStatus] = field(default_factory=list)
    came: float = math.nan
    answered: float = math.nan

    @property
    def waited(self) -> float:
        """How long it took."""
        return round(self.answered - self.came, 4)

    @property
    def words(self) -> list[str]:
        """The status of each event."""
        return [each.status for each in self.statuses]


async def statuses_from(
    coalescer: Coalescer, events: Sequence[Outgoing], headers: Headers = AGENT, *, hasty: bool = False
) -> list[EventStatus]:
    """POST these events now; return the status of each."""
    ended: asyncio.Future[Sequence[EventStatus]] = asyncio.get_running_loop().create_future()

    def done(statuses: Sequence[EventStatus]) -> None:
        if not ended.cancelled():
            ended.set_result(statuses)

    coalescer.deliver(Load("main", events, headers, hasty), done)
    return list(await ended)


async def call(
    caller: Caller,
    coalescer: Coalescer,
    events: Sequence[Outgoing],
    at: float = 0.0,
    headers: Headers = AGENT,
    *,
    hasty: bool = False,
) -> None:
    """POST these events at this time."""
    await asyncio.sleep(at - now())
    caller.came = now()
    caller.statuses = await statuses_from(coalescer, events, headers, hasty=hasty)
    caller.answered = now()


async def call_at(coalescer: Coalescer, *times: float) -> list[Caller]:
    """Make one POST at each of these times; return when all are answered."""
    callers = [Caller() for _ in times]
    async with asyncio.TaskGroup() as tasks:
        for caller, at in zip(callers, times, strict=True):
            tasks.create_task(call(caller, coalescer, request(), at))
    return callers
