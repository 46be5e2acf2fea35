"""Producers that post without a pause or at a steady pace, and remember what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

from tests.fakes import connected, eventually


@dataclass(frozen=True)
class Told:
    """What a producer was told about one event."""

    status: int
    asked: float
    """When it was posted, in seconds of the loop's clock."""
    seconds: float
    """How long the answer took, from the first packet on."""


Answers = dict[str, Told]
"""By the event's id. An event whose producer was hung up on has no entry: it was promised nothing."""


def an_event(id_: str, stream: str = "score", **more: object) -> bytes:
    """Return an event that EventGate takes; `more` is what else stands in it."""
    meta = {"stream": stream, "id": id_, "dt": "2026-11-22T00:00:00Z"}
    return json.dumps({"$schema": "/test/event/1.0.0", "meta": meta, "test": id_, **more}).encode()


def new_ids() -> Iterator[str]:
    """Yield ids for events, each of them once."""
    return (f"{number:08}-1111-4111-8111-111111111111" for number in itertools.count())


async def post_on_and_on(address: str, ids: Iterator[str], answers: Answers) -> None:
    """Post one event after the other on one connection, until the sidecar hangs up."""
    clock = asyncio.get_running_loop().time
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        async with connected(address) as client:
            for id_ in ids:
                asked = clock()
                told = await client.post(an_event(id_))
                answers[id_] = Told(told.status, asked, clock() - asked)


async def post_steadily(
    address: str, ids: Iterator[str], answers: Answers, each_second: float, enough: Callable[[], bool]
) -> None:
    """Post so many events each second, whatever becomes of those before, until it is `enough`.

    Each goes on a connection of its own, as the model servers of Lift Wing send them.
    """
    clock = asyncio.get_running_loop().time

    async def post(id_: str) -> None:
        asked = clock()
        async with connected(address) as client:
            told = await client.post(an_event(id_))
        answers[id_] = Told(told.status, asked, clock() - asked)

    began = clock()
    async with asyncio.TaskGroup() as tasks:
        for number, id_ in enumerate(ids):
            await asyncio.sleep(began + number / each_second - clock())
            if enough():
                return
            tasks.create_task(post(id_))


SECONDS = 5.0
"""After which a model server gives up."""


@contextlib.asynccontextmanager
async def all_are_taken(posted: Callable[[], Awaitable[int]], apart: float) -> AsyncIterator[None]:
    """Post by this an event at a time, `apart` seconds after the one before: each is answered 201, and in time."""
    statuses: Counter[int] = Counter()
    enough = asyncio.Event()

    async def posting() -> None:
        while not enough.is_set():
            async with asyncio.timeout(SECONDS):
                statuses[await posted()] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), apart)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(posting())
        await eventually(lambda: statuses[201] > 0)
        yield
        await eventually(lambda: statuses[201] > 1)
        enough.set()
    assert set(statuses) == {201}
