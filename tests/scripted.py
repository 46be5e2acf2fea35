"""Pools with given addresses, and a scripted EventGate at each, in the time of the running loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sidecar.delivery.retry import Undelivered
from sidecar.delivery.sender import Sender
from sidecar.delivery.tries import Observer
from sidecar.eventgate.client import Attempt, EventGate, OnResult, Result
from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Headers, Load, Outgoing
from sidecar.events.results import EventStatus, Outcome, StatusWord
from sidecar.routes.language.config import Timeouts, Upstream
from sidecar.telemetry.happenings import Happening
from sidecar.telemetry.telemetry import Telemetry
from sidecar.upstreams.endpoints import Address, Pool
from sidecar.upstreams.health import Health

Kind = TypeVar("Kind")

NEVER = math.inf


def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()


class Recorder(Telemetry):
    """Keeps the happenings."""

    def __init__(self) -> None:
        log = logging.getLogger("nobody reads it")
        log.disabled = True
        super().__init__((), log)
        self.happenings: list[Happening] = []

    def emit(self, happening: Happening) -> None:
        """Keep it, and count it as usual."""
        self.happenings.append(happening)
        super().emit(happening)

    def all_of(self, kind: type[Kind]) -> list[Kind]:
        """Return those of one kind."""
        return [each for each in self.happenings if isinstance(each, kind)]


@dataclass(frozen=True)
class Act:
    """The result of one POST; by default it is accepted at once."""

    connects: float = 0.0
    """Seconds until it is sent."""
    takes: float = 0.0
    """Seconds from sending to the result."""
    end: Failed | Exception | None = None
    """None: EventGate gives its verdict."""
    says: StatusWord | Mapping[str, StatusWord] = "success"
    """Its verdict on each event, or on those with these ids."""


HANG = Act(takes=NEVER)
NO_CONNECTION = Act(connects=NEVER)


def refuses() -> Act:
    """Return an act that refuses the connection."""
    return Act(0.0, 0.0, Failed(FailureClass.NEVER_SENT, "cannot connect: Connection refused"))


def fails(failure: FailureClass, takes: float = 0.0, retry_after: float = 0.0) -> Act:
    """Return an act that ends without a verdict after sending, for the reason "it fails"."""
    return Act(0.0, takes, Failed(failure, "it fails", retry_after))


@dataclass
class Posted:
    """One POST and its result."""

    body: tuple[bytes, ...]
    begun: float
    sent: float = NEVER
    ended: float = NEVER
    end: Failed | Exception | None = None
    """None: it was accepted, or cancelled before it was sent."""
    number: int = field(default_factory=itertools.count().__next__)
    """In order of their start, across all addresses."""
    took: bytes = b""
    """The field `described` of the statuses, to recognise them."""


class ScriptedEventGate(EventGate):
    """Answers its first POST with `acts[0]`, its second with `acts[1]`, then with `otherwise`."""

    def __init__(self, name: str, timeouts: Timeouts, acts: Sequence[Act], otherwise: Act) -> None:
        self._name = name
        self._limits = timeouts
        self._acts = list(acts)
        self._otherwise = otherwise
        self.posts: list[Posted] = []
        self.closed = False

    @property
    def begun(self) -> list[float]:
        """The start time of each POST."""
        return [each.begun for each in self.posts]

    @property
    def sent(self) -> list[Posted]:
        """The POSTs that were sent."""
        return [each for each in self.posts if each.sent < NEVER]

    def post(self, load: Load, tasks: asyncio.TaskGroup, on_result: OnResult) -> Attempt:
        """Follow the script, within the time limit of connecting; a success is `described` by its address."""
        attempt = Attempt(load, on_result)
        attempt.connecting = tasks.create_task(self._play(attempt))
        return attempt

    def give_up(self, attempt: Attempt) -> None:
        """Stop playing."""
        attempt.on_result = None
        if attempt.connecting is not None:
            attempt.connecting.cancel()

    async def _play(self, attempt: Attempt) -> None:
        result = await self._end_of(attempt)
        if attempt.on_result is not None:
            attempt.on_result(result)

    async def _end_of(self, attempt: Attempt) -> Result:
        events = attempt.load.events
        act = self._acts.pop(0) if self._acts else self._otherwise
        took = f"{self._name} {len(self.posts)}".encode()
        posted = Posted(tuple(event.body for event in events), now(), took=took)
        self.posts.append(posted)
        posted.end = await self._meet(act, posted, attempt)
        posted.ended = now()
        words = [act.says if isinstance(act.says, str) else act.says[event.id or ""] for event in events]
        outcomes: dict[StatusWord, Outcome] = {"success": Outcome.DELIVERED}
        return posted.end or [EventStatus(word, outcomes.get(word, Outcome.FAILED), took) for word in words]

    async def _meet(self, act: Act, posted: Posted, attempt: Attempt) -> Failed | Exception | None:
        never_sent = isinstance(act.end, Failed) and act.end.failure is FailureClass.NEVER_SENT
        if not await _passes(act.connects, self._limits.connect):
            return Failed(FailureClass.NEVER_SENT, "cannot connect in time")
        if never_sent or isinstance(act.end, Exception):
            return act.end
        attempt.sent_at = posted.sent = now()
        await asyncio.sleep(act.takes)
        return act.end

    def close(self) -> None:
        """Return 0: no connection is kept open."""
        self.closed = True


async def _passes(seconds: float, limit: float) -> bool:
    """Wait `seconds`, `limit` at most; return whether they passed."""
    await asyncio.sleep(max(0.0, min(seconds, limit)))
    return seconds <= limit


def bare_pool(*datacenters: str, **settings: object) -> Pool:
    """Return a pool without health data; a single endpoint is called eqiad:80."""
    several = len(datacenters) > 1
    url = "http://{datacenter}/v1/events" if several else "http://eqiad:80/v1/events"
    config = {"url": url, "datacenters": list(datacenters) if several else [], **settings}
    return Pool("main", Upstream.read(config))


def make_pool(places: Mapping[str, Sequence[str]], **settings: object) -> Pool:
    """Return a pool of these endpoints and addresses, all checked and healthy."""
    pool = bare_pool(*places, **settings)
    for endpoint, ips in zip(pool.endpoints, places.values(), strict=True):
        endpoint.set_addresses(tuple(ips))
        pool.looked_at_endpoint(endpoint)
    for address in pool.addresses:
        pool.judge.check_passed(address.standing, 0.0)
        script(address)
    return pool


def script(address: Address, *acts: Act, otherwise: Act = Act()) -> ScriptedEventGate:
    """Put a scripted EventGate at an address."""
    fake = ScriptedEventGate(address.ip, address.endpoint.config.timeouts, acts, otherwise)
    address.eventgate = fake
    return fake


@contextlib.asynccontextmanager
async def delivering(pool: Pool, observer: Observer | None = None) -> AsyncIterator[tuple[Sender, Recorder]]:
    """Yield a delivery to this pool, with its telemetry; wait for its attempts at the end."""
    recorder = Recorder()
    delivery = Sender({pool.name: pool}, recorder, lambda: 0.5, now, observer=observer)
    async with asyncio.TaskGroup() as tasks:
        delivery.start(tasks)
        yield delivery, recorder


def all_healths(pool: Pool) -> dict[str, Health]:
    """Return the health of each address."""
    return {address.ip: address.standing.health for address in pool.addresses}


EVENT = Outgoing(0, b'{"meta":{"id":"a"}}', "a", "s")
EQIAD, CODFW, ESAMS = "10.1.0.1", "10.2.0.1", "10.3.0.1"


@dataclass(frozen=True)
class Seen:
    """The answer to the producer."""

    at: float
    status: str
    endpoint: str
    unreachable: bool = False


async def result_from(
    delivery: Sender, events: Sequence[Outgoing], headers: Headers = (), *, hasty: bool = False
) -> list[EventStatus] | Undelivered:
    """Deliver events, and return the answer."""
    ended: asyncio.Future[list[EventStatus] | Undelivered] = asyncio.get_running_loop().create_future()
    delivery.send(Load("main", events, headers, hasty), ended.set_result)
    return await ended


async def status_from(delivery: Sender) -> EventStatus:
    """Deliver the event, and return its status."""
    result = await result_from(delivery, [EVENT])
    return result.status_of(EVENT) if isinstance(result, Undelivered) else result[0]


async def deliver(delivery: Sender) -> Seen:
    """Deliver the event."""
    status = await status_from(delivery)
    return Seen(round(now(), 6), status.status, status.endpoint, status.unreachable)


async def deliver_many(delivery: Sender, count: int) -> list[Seen]:
    """Deliver it several times at the same moment."""
    async with asyncio.TaskGroup() as tasks:
        found = [tasks.create_task(deliver(delivery)) for _ in range(count)]
    return [each.result() for each in found]


def one(act: Act, *more: Act, **settings: object) -> tuple[Pool, ScriptedEventGate]:
    """Return a pool of one address, which answers with these acts, and repeats the last."""
    pool = make_pool({"eqiad": [EQIAD]}, **settings)
    acts = (act, *more)
    return pool, script(at(pool, EQIAD), *acts, otherwise=acts[-1])


def two(eqiad: Act, codfw: Act | None = None, **settings: object) -> tuple[Pool, ScriptedEventGate, ScriptedEventGate]:
    """Return a pool of two endpoints, each with one act for all POSTs; by default codfw accepts."""
    pool = make_pool({"eqiad": [EQIAD], "codfw": [CODFW]}, **settings)
    return pool, script(at(pool, EQIAD), otherwise=eqiad), script(at(pool, CODFW), otherwise=codfw or Act())


def at(pool: Pool, ip: str) -> Address:
    """Return the address with this IP."""
    return next(each for each in pool.addresses if each.ip == ip)


def out(pool: Pool, health: Health, *ips: str) -> None:
    """Take addresses out."""
    for ip in ips:
        at(pool, ip).standing.health = health
