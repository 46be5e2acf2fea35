"""Whatever a client sends, stops sending or does not read, the process serves the next one and keeps nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sidecar.eventgate.client import MAX_CONNECTIONS
from tests.end_to_end.attacks import ATTACKS, EVENT, MB, SLOW, Attack
from tests.end_to_end.conftest import written
from tests.end_to_end.load import all_are_taken
from tests.end_to_end.processes import Emulator, Sidecar, ask, sidecar
from tests.fakes import PATIENCE, connected, eventually, post
from tests.running import to_one

TIMEOUTS = {"connect": "3s", "attempt": "3s", "deadline": "4s"}
"""So that a thousand events at once need not be quick on a busy machine."""


@pytest.fixture
def running(eventgate: Emulator, tmp_path: Path) -> Iterator[Sidecar]:
    """Run a sidecar that is patient with EventGate, which is well and has kept nothing yet."""
    eventgate.forget()
    with sidecar(written(to_one(eventgate.address, timeouts=TIMEOUTS), tmp_path)) as process:
        yield process


@pytest.fixture(scope="module")
def shared(eventgate: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Run one sidecar that all attacks meet, one after the other."""
    config = to_one(eventgate.address, timeouts=TIMEOUTS)
    with sidecar(written(config, tmp_path_factory.mktemp("shared"))) as process:
        yield process


async def well(running: Sidecar) -> bool:
    """Whether an event is taken now."""
    async with connected(running.address) as client:
        return (await client.post(EVENT)).status == 201


async def end(running: Sidecar, files: int) -> None:
    """Assert that nothing of what happened is left, and that it stops as it should.

    Beside the `files` open at first there may be idle connections to EventGate, which are kept for a while.
    """
    await eventually(lambda: running.connections == 0)
    await eventually(lambda: running.process.open_files <= files + MAX_CONNECTIONS)
    running.process.tell(signal.SIGINT)
    assert await asyncio.to_thread(running.process.end) == 0
    assert running.in_flight() == 0
    assert not [line for line in running.process.lines if isinstance(line, str)], "nothing but JSON is logged"


@contextlib.asynccontextmanager
async def others_are_served(running: Sidecar) -> AsyncIterator[None]:
    """Post events all the while, one after the other on one connection: all are taken in time."""
    async with connected(running.address) as client:

        async def again() -> int:
            return (await client.post(EVENT)).status

        async with all_are_taken(again, apart=0.02):
            yield


async def met(running: Sidecar, attack: Attack) -> tuple[int, ...]:
    """Do it; return the statuses of the answers, and see to it that the connection ends where it should."""
    async with connected(running.address) as client:
        for data in attack.sent:
            await client.send(data)
        statuses = [(await client.answer()).status for _ in attack.statuses]
        if attack.ends:
            await client.rest()
    return tuple(statuses)


@pytest.mark.parametrize("what", ATTACKS)
async def test_every_attack_gets_its_answer(shared: Sidecar, what: str) -> None:
    """Meanwhile and afterwards the events of others are taken."""
    async with others_are_served(shared):
        found = {name: await met(shared, attack) for name, attack in ATTACKS[what].items()}
    assert found == {name: attack.statuses for name, attack in ATTACKS[what].items()}


async def test_slow_requests_time_out(shared: Sidecar) -> None:
    """Slow headers, slow bodies, and announced bodies that never come."""
    async with others_are_served(shared):
        statuses = await asyncio.gather(*(met(shared, attack) for attack in SLOW.values()))
    assert dict(zip(SLOW, statuses, strict=True)) == {name: attack.statuses for name, attack in SLOW.items()}


async def test_all_attacks_at_once_leave_nothing_behind(running: Sidecar) -> None:
    """Every attack that is not a matter of size, three times, in parallel."""
    assert await well(running)
    files = running.process.open_files
    attacks = [attack for ways in ATTACKS.values() for attack in ways.values() if sum(map(len, attack.sent)) < MB]
    async with asyncio.timeout(3 * PATIENCE):
        await asyncio.gather(*(met(running, attack) for attack in attacks * 3))
    assert await well(running)
    await end(running, files)


async def test_a_client_may_half_close(shared: Sidecar) -> None:
    """It gets the answers to its requests, and then the connection ends."""
    for data, statuses in ((post(EVENT), [201]), (post(EVENT) * 3, [201] * 3), (post(EVENT)[:-9], [])):
        async with connected(shared.address) as client:
            await client.send(data)
            client.writer.write_eof()
            assert [(await client.answer()).status for _ in statuses] == statuses
            assert await client.rest() == b""


async def test_an_event_goes_to_the_configured_upstream_whatever_its_target_says(
    shared: Sidecar, eventgate: Emulator
) -> None:
    """An absolute-form target and a Host header have no effect: routes.yaml decides."""
    before = len(eventgate.kept)
    async with connected(shared.address) as client:
        answer = await client.post(EVENT, "http://192.0.2.1:9/v1/events", host="192.0.2.1:9")
    assert (answer.status, len(eventgate.kept)) == (201, before + 1)


async def test_requests_over_the_limit_get_a_retry_after(running: Sidecar) -> None:
    """With 1,024 requests in flight, one more gets 503 and `Retry-After: 1`; all others are served."""
    assert await well(running)
    files = running.process.open_files
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(3 * PATIENCE):
        begun = [await stack.enter_async_context(connected(running.address)) for _ in range(1024)]
        for client in begun:
            await client.send(post(EVENT)[:-9])
        one_more = await stack.enter_async_context(connected(running.address))
        while (answer := await one_more.post(EVENT)).status == 201:
            pass  # it has not seen them all yet
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json["detail"] == "1024 requests are being answered already; try again in a second"
        for client in begun:
            await client.send(EVENT[-9:])
        assert {(await client.answer()).status for client in begun} == {201}
        assert (await one_more.post(EVENT)).status == 201
    await end(running, files)


async def test_the_event_of_a_client_that_left_is_delivered(running: Sidecar, eventgate: Emulator) -> None:
    """A complete request counts, even if nobody waits for the answer."""
    await asyncio.to_thread(eventgate.fault, "slow", 0.2)
    async with connected(running.address) as client:
        await client.send(post(EVENT))
    await eventually(lambda: len(eventgate.kept) == 1)
    assert json.loads(eventgate.kept[0]["raw"])["meta"]["stream"] == "s"


async def test_a_client_that_does_not_read_delays_nobody(running: Sidecar) -> None:
    """Unread answers pile up on their own connection only."""
    async with connected(running.address) as deaf:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        refused = post(b'{"meta":{"stream":"s"},"x":"%b"}' % (b"x" * 100_000))
        for _ in range(100):
            deaf.writer.write(refused)
        for _ in range(5):
            assert await well(running)
        deaf.writer.transport.abort()
    assert (await asyncio.to_thread(ask, running.admin, "GET", "/livez")).status == 200
