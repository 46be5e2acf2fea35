"""The connection pool of `EventGate`: its size, its queue, and reuse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from sidecar.eventgate.client import AGENT, KEEPALIVE_SECONDS, MAX_CONNECTIONS, Attempt, EventGate, Result, reply_limit
from sidecar.eventgate.connection import MAX_REPLY_BYTES
from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.eventgate.trust import Trust
from sidecar.events.outgoing import Load, Outgoing
from sidecar.routes.language.config import Timeouts
from tests.fakes import FakeEventGate, Reply, after, answer, close, eventually, refusing, stall

EVENT = Outgoing(0, b'{"meta":{"stream":"s","id":"a"}}', "a", "s")
PATIENT = Timeouts(connect=5.0, attempt=20.0, deadline=30.0)
ACCEPTED = ["success"]


@dataclass
class Posts:
    """POSTs through one client, and their results."""

    client: EventGate
    tasks: asyncio.TaskGroup
    results: list[Result] = field(default_factory=list)

    def post(self, count: int = 1, *headers: tuple[str, str]) -> list[Attempt]:
        """Start `count` POSTs."""
        load = Load("main", [EVENT], headers)
        return [self.client.post(load, self.tasks, self.results.append) for _ in range(count)]

    async def ended(self, count: int) -> list[object]:
        """Wait until `count` POSTs have ended; return their statuses or failures."""
        await eventually(lambda: len(self.results) >= count)
        return [words(each) for each in self.results]


def words(result: Result) -> object:
    """Return a result in a form that tests compare."""
    return [each.status for each in result] if isinstance(result, list) else result


@contextlib.asynccontextmanager
async def posting(address: str, timeouts: Timeouts = PATIENT, url: str = "") -> AsyncIterator[Posts]:
    """Yield a client of this address."""
    async with asyncio.TaskGroup() as tasks:
        url = url or f"http://{address}/v1/events"
        trust = Trust(None) if url.startswith("https:") else None
        client = EventGate(url, "127.0.0.1", trust, "a", timeouts)
        yield Posts(client, tasks)
        client.close()


@dataclass
class Clock:
    """The monotonic clock, which can be advanced; the event loop uses it too."""

    ahead: float = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that can be advanced."""
    real, moved = time.monotonic, Clock()  # noqa: TID251 - this is the clock
    monkeypatch.setattr(time, "monotonic", lambda: real() + moved.ahead)
    return moved


async def still(gate: FakeEventGate, count: int) -> None:
    """Assert that no more than `count` requests come, after everything else has run."""
    async with posting(gate.address) as other:
        before = len(gate.requests)
        assert before == count
        other.post()
        await gate.received(before + 1)
    assert len(gate.requests) == before + 1
    gate.requests.pop()


# --- as many as there may be ---


async def test_a_post_waits_for_a_free_connection() -> None:
    """The 257th is sent as soon as another has its answer, over the same connection."""
    free = asyncio.Event()
    async with FakeEventGate(after(free), otherwise=stall) as gate, posting(gate.address) as posts:
        attempts = posts.post(MAX_CONNECTIONS)
        await gate.received(MAX_CONNECTIONS)
        attempts += posts.post()
        await still(gate, MAX_CONNECTIONS)
        free.set()
        await gate.received(MAX_CONNECTIONS + 1)
        assert await posts.ended(1) == [ACCEPTED]
        for each in attempts:
            posts.client.give_up(each)
    assert len(posts.results) == 1


async def test_waiting_posts_are_sent_in_turn() -> None:
    """Twice as many POSTs as connections are all answered, over those connections."""
    async with FakeEventGate() as gate, posting(gate.address) as posts:
        posts.post(2 * MAX_CONNECTIONS)
        assert await posts.ended(2 * MAX_CONNECTIONS) == [ACCEPTED] * 2 * MAX_CONNECTIONS
    assert gate.connections == MAX_CONNECTIONS


async def test_giving_up_an_attempt_frees_its_connection() -> None:
    """Hundreds of abandoned POSTs leave room for as many new ones, and not for one more."""
    async with FakeEventGate(otherwise=stall) as gate, posting(gate.address) as posts:
        attempts = posts.post(MAX_CONNECTIONS)
        await gate.received(MAX_CONNECTIONS)
        for each in attempts:
            posts.client.give_up(each)
        attempts = posts.post(MAX_CONNECTIONS + 1)
        await gate.received(2 * MAX_CONNECTIONS)
        await still(gate, 2 * MAX_CONNECTIONS)
        for each in reversed(attempts):
            posts.client.give_up(each)
    assert posts.results == []


async def test_giving_up_a_waiting_attempt_frees_no_connection() -> None:
    """It held none, so the next one waits as before."""
    free = asyncio.Event()
    async with FakeEventGate(after(free), otherwise=stall) as gate, posting(gate.address) as posts:
        attempts = posts.post(MAX_CONNECTIONS)
        await gate.received(MAX_CONNECTIONS)
        (waiting,) = posts.post()
        posts.client.give_up(waiting)
        attempts += posts.post()
        await still(gate, MAX_CONNECTIONS)
        free.set()
        await gate.received(MAX_CONNECTIONS + 1)
        for each in attempts:
            posts.client.give_up(each)


async def test_a_refused_connection_frees_its_place() -> None:
    """Hundreds that cannot connect delay no others."""
    with refusing() as address:
        async with posting(address) as posts:
            posts.post(2 * MAX_CONNECTIONS + 1)
            ends = await posts.ended(2 * MAX_CONNECTIONS + 1)
    assert set(ends) == {Failed(FailureClass.NEVER_SENT, "cannot connect: Connection refused")}


async def test_an_attempt_given_up_while_connecting_sends_nothing() -> None:
    """A connection that is established too late carries no event."""
    async with FakeEventGate() as gate, posting(gate.address) as posts:
        (attempt,) = posts.post()
        posts.client.give_up(attempt)
        await still(gate, 0)
    assert (posts.results, attempt.sent_at) == ([], None)


# --- used again ---


async def test_a_stale_connection_is_not_reused(clock: Clock) -> None:
    """EventGate's proxy may be closing it right now, so the next POST opens a new one."""
    async with FakeEventGate() as gate, posting(gate.address) as posts:
        posts.post()
        await posts.ended(1)
        clock.ahead += KEEPALIVE_SECONDS - 1.0
        posts.post()
        await posts.ended(2)
        assert gate.connections == 1
        clock.ahead += KEEPALIVE_SECONDS + 0.1  # and nothing has had its turn since
        posts.post()
        await posts.ended(3)
        assert gate.connections == 2


async def test_idle_connections_are_closed(clock: Clock) -> None:
    """Each after its time, even if nothing is posted."""
    held = asyncio.Event()
    async with FakeEventGate(after(held)) as gate, posting(gate.address) as posts:
        posts.post(2)
        await posts.ended(1)
        clock.ahead += 2.0
        held.set()
        await posts.ended(2)
        assert len(gate._lines) == 2
        clock.ahead += KEEPALIVE_SECONDS - 1.0
        await eventually(lambda: len(gate._lines) == 1)
        clock.ahead += KEEPALIVE_SECONDS
        await eventually(lambda: not gate._lines)


async def test_a_closed_client_leaves_no_timer() -> None:
    """Nothing is left to be swept."""
    async with FakeEventGate() as gate, posting(gate.address) as posts:
        posts.post()
        await posts.ended(1)
        sweep = posts.client._sweep
        assert sweep is not None
        posts.client.close()
        assert sweep.cancelled()


async def test_closing_the_client_closes_connections_after_their_exchange() -> None:
    """Idle ones at once."""
    held = asyncio.Event()
    async with FakeEventGate(after(held)) as gate, posting(gate.address) as posts:
        posts.post()
        await gate.received(1)
        posts.client.close()
        held.set()
        assert await posts.ended(1) == [ACCEPTED]
        async with asyncio.timeout(KEEPALIVE_SECONDS / 2):
            await eventually(lambda: not gate._lines)


# --- what is dialled and said ---


@pytest.mark.parametrize(
    ("url", "port"), [("http://a/v1/events", 80), ("https://a/v1/events", 443), ("http://a:81/v1/events", 81)]
)
async def test_the_default_port_depends_on_the_scheme(monkeypatch: pytest.MonkeyPatch, url: str, port: int) -> None:
    """For a URL without a port."""
    dialled = []

    async def connect(_: object, host: str, port: int, **__: object) -> None:
        dialled.append((host, port))
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)
    async with posting("", url=url) as posts:
        posts.post()
        await posts.ended(1)
    assert dialled == [("127.0.0.1", port)]


@pytest.mark.parametrize(
    ("headers", "agents"),
    [
        ((), [AGENT[1]]),
        ((("x-request-id", "r"),), [AGENT[1]]),
        ((("x-request-id", "r"), ("user-agent", "theirs")), ["theirs"]),
    ],
    ids=["no headers", "others", "theirs"],
)
async def test_each_request_has_exactly_one_user_agent(headers: tuple[tuple[str, str], ...], agents: list[str]) -> None:
    """The producer's, or else the sidecar's."""
    async with FakeEventGate() as gate, posting(gate.address) as posts:
        posts.post(1, *headers)
        (request,) = await gate.received(1)
        await posts.ended(1)
    assert [value for name, value in request.headers.items() if name == "user-agent"] == agents


# --- what no verdict means ---


@pytest.mark.parametrize(
    ("sent", "limit"), [(0, 262_144), (1_000, 266_144), (1_000_000, 4_262_144), (100_000_000, MAX_REPLY_BYTES)]
)
def test_an_answer_may_be_a_few_times_as_long_as_the_post(sent: int, limit: int) -> None:
    """Failed events are echoed with defaults and errors; many answers are read at once."""
    assert reply_limit(sent) == limit


@pytest.mark.parametrize(
    ("retry_after", "failure", "seconds"),
    [
        ("7", FailureClass.THROTTLED, 7.0),
        ("301", FailureClass.THROTTLED, 300.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", FailureClass.THROTTLED, 1.0),
        ("soon", FailureClass.INFRASTRUCTURE, 0.0),
        ("-1", FailureClass.INFRASTRUCTURE, 0.0),
    ],
)
async def test_a_503_with_retry_after_throttles(retry_after: str, failure: FailureClass, seconds: float) -> None:
    """With seconds or a date; anything else is ignored."""
    reply: Reply = answer(503, "Later", headers={"retry-after": retry_after})
    async with FakeEventGate(reply) as gate, posting(gate.address) as posts:
        (attempt,) = posts.post()
        (end,) = await posts.ended(1)
    assert isinstance(end, Failed)
    assert (end.failure, end.retry_after, attempt.status) == (failure, seconds, 503)


async def test_a_lost_connection_ends_its_attempt_at_once() -> None:
    """Not only at the timeout; the event may have been taken."""
    async with FakeEventGate(close) as gate, posting(gate.address) as posts:
        (attempt,) = posts.post()
        (end,) = await posts.ended(1)
    assert isinstance(end, Failed)
    assert (end.failure, attempt.status) == (FailureClass.AMBIGUOUS, None)
    assert end.reason.startswith("connection lost before the answer was complete: ")


async def test_a_compressed_answer_is_explained() -> None:
    """The log says why a 201 was not a verdict."""
    reply = answer(200, "OK", b"\x1f\x8b", headers={"content-encoding": "gzip"})
    async with FakeEventGate(reply) as gate, posting(gate.address) as posts:
        posts.post()
        (end,) = await posts.ended(1)
    assert isinstance(end, Failed)
    assert end.reason == "it answered 200, but its answer is compressed (gzip), which was not requested"


# --- what nobody foresaw ---


@pytest.mark.parametrize("name", [".discovery.wmnet", "a" * 70 + ".wmnet"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # asyncio leaves its socket open then
async def test_an_invalid_server_name_fails_only_the_attempt(name: str) -> None:
    """Nothing was sent, the next endpoint is tried, and no task ends."""
    async with FakeEventGate() as gate, asyncio.TaskGroup() as tasks:
        url = f"https://{gate.address}/v1/events"
        client = EventGate(url, "127.0.0.1", Trust(None), name, PATIENT)
        posts = Posts(client, tasks)
        posts.post(2)
        ended = await posts.ended(2)
        client.close()
    assert [each.failure for each in ended if isinstance(each, Failed)] == [FailureClass.NEVER_SENT] * 2
    assert all(str(each.reason).startswith("cannot connect: ") for each in ended if isinstance(each, Failed))
    assert gate.requests == []
    gc.collect()
