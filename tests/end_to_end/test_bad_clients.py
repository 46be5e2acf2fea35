"""Whatever a client sends, stops sending or does not read: the process answers the next one, and forgets it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.eventgate import MAX_CONNECTIONS
from tests.end_to_end.conftest import written
from tests.end_to_end.processes import Emulator, Sidecar, ask, sidecar
from tests.fakes import PATIENCE, Answer, connected, eventually, post
from tests.running import to_one

MB = 1024 * 1024
EVENT = b'{"$schema":"/test/event/1.0.0","meta":{"stream":"s","dt":"2026-11-22T00:00:00Z"}}'
TIMEOUTS = {"connect": "3s", "attempt": "3s", "deadline": "4s"}
"""So that a thousand events at once need not be quick on a busy machine."""


@pytest.fixture
def running(eventgate: Emulator, tmp_path: Path) -> Iterator[Sidecar]:
    """Run a sidecar that is patient with EventGate, which is well and has kept nothing yet."""
    eventgate.forget()
    with sidecar(written(to_one(eventgate.address, timeouts=TIMEOUTS), tmp_path)) as process:
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


async def talk(running: Sidecar, *sent: bytes, answers: int) -> list[Answer]:
    """Send on one connection; read so many answers, and then leave."""
    async with connected(running.address) as client:
        for data in sent:
            await client.send(data)
        return [await client.answer() for _ in range(answers)]


BOMB = gzip.compress(bytes(30 * MB))
CHUNKED = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
EXPECT = b"expect: 100-continue\r\n\r\n"

ATTACKS: dict[str, tuple[list[bytes], list[int]]] = {
    "half a request line": ([b"POST /v1/ev"], []),
    "half the headers": ([b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-le"], []),
    "half a body": ([post(EVENT)[:-20]], []),
    "half a chunk": ([CHUNKED + b"40\r\n{"], []),
    "gone before the answer": ([post(EVENT)], []),
    "a body over 10 MB": ([post(bytes(10 * MB + 1))], [500]),
    "chunks over 10 MB": ([CHUNKED, *[b"100000\r\n" + bytes(MB) + b"\r\n"] * 11, b"0\r\n\r\n"], [500]),
    "a gzip bomb": ([post(BOMB, content_encoding="gzip")], [500]),
    "half a gzip": ([post(gzip.compress(EVENT)[:-9], content_encoding="gzip")], [500]),
    "a length too small": ([post(EVENT, content_length=str(len(EVENT) - 9))], [500]),
    "no length at all": (
        [b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\r\n"],
        [400],
    ),
    "two requests at once": ([post(EVENT) + post(EVENT)], [201, 201]),
    "HTTP/1.0": ([post(EVENT).replace(b"HTTP/1.1", b"HTTP/1.0")], [201]),
    "Expect: 100-continue": ([post(EVENT).replace(b"\r\n\r\n", b"\r\n" + EXPECT)], [100, 201]),
    "an unknown method": ([b"BREW /v1/events HTTP/1.1\r\nhost: x\r\n\r\n"], [400]),
    "another method": ([b"DELETE /v1/events HTTP/1.1\r\nhost: x\r\n\r\n"], [404]),
    "garbage": ([bytes(range(256)) * 40], [400]),
    "70 kB of headers": (
        [b"POST /v1/events HTTP/1.1\r\n" + b"x-long: " + b"x" * 70_000 + b"\r\n\r\n"],
        [400],
    ),
    "brackets 100,000 deep": ([post(b"[" * 100_000 + b"]" * 100_000)], [500]),
    "no UTF-8": ([post(b'{"meta":{"stream":"\xff\xfe"}}')], [500]),
    "a stream of control characters": ([post(b'{"meta":{"stream":"a\\u0000\\r\\nb: c"}}')], [500]),
}
"""What a client does → what is sent, and the statuses of the answers it reads before it leaves."""


async def test_whatever_clients_do_nothing_is_left_behind(running: Sidecar) -> None:
    """One after the other and then all at once: afterwards it is as if they had not been."""
    assert await well(running)
    files = running.process.open_files
    for name, (sent, statuses) in ATTACKS.items():
        answers = await talk(running, *sent, answers=len(statuses))
        assert (name, [answer.status for answer in answers]) == (name, statuses)
        assert await well(running), name
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(
            *(talk(running, *sent, answers=len(statuses)) for sent, statuses in ATTACKS.values() for _ in range(5))
        )
    assert await well(running)
    await end(running, files)


async def test_more_requests_than_are_held_are_asked_to_come_back(running: Sidecar) -> None:
    """With 1,024 requests begun, one more gets 503 and `Retry-After: 1`; when they go on, all are served."""
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


async def test_a_client_that_leaves_does_not_take_its_event_along(running: Sidecar, eventgate: Emulator) -> None:
    """What was sent whole arrives, although the sender did not wait for the answer."""
    await asyncio.to_thread(eventgate.fault, "slow", 0.2)
    async with connected(running.address) as client:
        await client.send(post(EVENT))
    await eventually(lambda: len(eventgate.kept) == 1)
    assert json.loads(eventgate.kept[0]["raw"])["meta"]["stream"] == "s"


async def test_a_client_that_does_not_read_holds_up_nobody(running: Sidecar) -> None:
    """Answers that nobody reads pile up on their own connection alone."""
    async with connected(running.address) as deaf:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        refused = post(b'{"meta":{"stream":"s"},"x":"%b"}' % (b"x" * 100_000))
        for _ in range(100):
            deaf.writer.write(refused)
        for _ in range(5):
            assert await well(running)
        deaf.writer.transport.abort()
    assert (await asyncio.to_thread(ask, running.admin, "GET", "/livez")).status == 200
