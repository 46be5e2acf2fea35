"""A process that lives on the real spool, and marks what it was promised: `python -m …load FOLDER MARKS SEED LIFE END`.

Marks are lines of a file: `stored` (these were answered 202), written when the promise is given, and `sending`
(EventGate has taken these), written before the spool hears of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sidecar.spool.record import Quota, Spooled, key_of
from sidecar.spool.store import Kept, PutResult, Spool
from sidecar.telemetry.telemetry import Telemetry

NOON = 1_800_000_000.0
ROUNDS = 12
QUOTAS = (Quota(), Quota(size=16 * 1024 * 1024))
"""With the smaller one the write-ahead log is copied into the file again and again; neither is ever full."""
SIZES = (60, 300, 3_000, 30_000)
"""Bytes that an event has beside its name: less than a page, several pages."""


def event(name: str, size: int, arrival: int, key: str | None = None) -> Spooled:
    """Return an event; `name_of` knows it again by its bytes."""
    body = b'{"meta":{"stream":"s","id":"%b"},"filler":"%b"}' % (name.encode(), (name.encode() * size)[:size])
    return Spooled(
        arrival=arrival,
        upstream="main",
        stream="s",
        body=body,
        id=name,
        order_key=key_of("main", key) if key else None,
        first_seen=NOON,
    )


def name_of(body: bytes) -> str | None:
    """Return the name of the event with these bytes; None where they are no event's."""
    name = body.partition(b'"id":"')[2].partition(b'"')[0].decode(errors="replace")
    filler = body.partition(b'"filler":"')[2].removesuffix(b'"}')
    whole = event(name, len(filler), 0).body
    return name if name and body == whole else None


class Life:
    """One process: it puts events in, takes some out, and ends tidily or not."""

    def __init__(self, folder: Path, marks: Path, seed: str, number: int) -> None:
        """`number` says which of the lives on this folder it is; the events of each have names of their own."""
        self._random = random.Random(f"{seed} {number}")
        self._marks = marks.open("ab", buffering=0)
        self._names = (f"{number}.{count}" for count in range(10**9))
        self._arrivals = iter(range(number * 10**6 + 1, 2**62))
        log = logging.getLogger("nobody reads it")
        log.disabled = True
        self._spool = Spool(folder, self._random.choice(QUOTAS), Telemetry((), log), lambda: NOON)

    async def run(self, end: str) -> None:
        """Live; `end` is `close`, or `kill` for the middle of things."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._spool.run())
            await self._spool.opened()
            for _ in range(ROUNDS):
                await self._put()
                await self._send()
            if end == "kill":
                tasks.create_task(self._put())
                tasks.create_task(self._send())
                await asyncio.sleep(self._random.uniform(0.0, 0.02))
                os._exit(0)
            self._spool.close()

    async def _put(self) -> None:
        """Put some in at once, alone or as arrays, so that they share a transaction."""
        puts = [self._store(list(self._events())) for _ in range(self._random.randrange(1, 6))]
        await asyncio.gather(*puts)

    def _events(self) -> Iterator[Spooled]:
        for _ in range(self._random.choice((1, 1, 1, 3))):
            key = self._random.choice((None, None, "a", "b"))
            yield event(next(self._names), self._random.choice(SIZES), next(self._arrivals), key)

    async def _store(self, events: Sequence[Spooled]) -> None:
        told: asyncio.Future[PutResult] = asyncio.get_running_loop().create_future()
        self._spool.store(events, told.set_result)
        if (await told).kept is Kept.STORED:
            self._mark("stored", events)

    async def _send(self) -> None:
        """Take some out, and let their deliveries end in every way there is."""
        events = await self._spool.hand_out("main", self._random.randrange(1, 8), 10**6)
        ends: dict[str, list[Spooled]] = {"delivered": [], "failed": [], "dead": [], "released": []}
        for each in events:
            ends[self._random.choice(("delivered", "delivered", "failed", "dead", "released"))].append(each)
        self._spool.release(ends["released"])
        self._mark("sending", ends["delivered"])
        await asyncio.gather(
            self._spool.delivered(ends["delivered"]),
            *(self._spool.failed(each, "it failed") for each in ends["failed"]),
            *(self._spool.dead(each, "invalid", "it is wrong", b"{}") for each in ends["dead"]),
        )

    def _mark(self, kind: str, events: Sequence[Spooled]) -> None:
        if events:
            self._marks.write(f"{kind} {' '.join(str(each.id) for each in events)}\n".encode())


def main(arguments: Sequence[Any]) -> None:
    """Live once."""
    folder, marks, seed, number, end = arguments
    asyncio.run(Life(Path(folder), Path(marks), seed, int(number)).run(end))


if __name__ == "__main__":
    main(sys.argv[1:])
