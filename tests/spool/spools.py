"""Spools for tests: events, an open spool, and ways to damage its files."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar.spool.directory import FILE, SpoolDir
from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Quota, Spooled, key_of
from sidecar.spool.schema import APPLICATION_ID, STATEMENTS, old_checksum_of
from sidecar.spool.store import PutResult, Spool
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry

NOON = 1_800_000_000.0
"""The time at which everything here happens, unless it says another."""


def spooled(arrival: int, key: str | None = None, **more: Any) -> Spooled:
    """Return an event for `main` of stream `score`, with its number in its bytes."""
    body = b'{"meta":{"stream":"score","id":"%d"}}' % arrival
    values: dict[str, Any] = {"upstream": "main", "stream": "score", "body": body, "id": str(arrival)}
    values |= {"arrival": arrival, "first_seen": NOON, **more}
    return Spooled(**values, order_key=None if key is None else key_of(values["upstream"], key))


def old_event(number: int, **more: Any) -> Spooled:
    """Return an event as read from a file of an older version (`old_file`)."""
    return spooled(number, "enwiki", **more)


def old_file(folder: Path, version: int) -> Path:
    """Create a file of an older version, with the event 1 waiting and 2 a dead letter."""
    with contextlib.closing(sqlite3.connect(folder / FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for statement in STATEMENTS[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        for table, event, error, more in (
            ("waiting", old_event(1, attempts=2), "no answer", ()),
            ("dead", old_event(2), "", ("invalid", b"[]", NOON)),
        ):
            checksum = old_checksum_of(event.upstream, event.stream, event.id, "enwiki", "[]", event.body)
            row = (
                *(event.arrival, event.upstream, event.stream, event.id, 1, 0, "enwiki", NOON, event.attempts, 0, None),
                *(error, 0, 300, "[]", event.body, *more, *((checksum,) if version == 2 else ())),
            )
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    return folder / FILE


def arrivals(events: list[Spooled]) -> list[int]:
    """Return their numbers."""
    return [event.arrival for event in events]


@contextlib.contextmanager
def spool_file(folder: Path, limits: Quota | None = None) -> Iterator[SpoolFile]:
    """Open a spool's file in `folder`, for calls that need no transaction."""
    folder.mkdir(exist_ok=True)
    with contextlib.closing(SpoolFile(folder / FILE, limits or Quota())) as file:
        yield file


def fill(folder: Path, *events: Spooled) -> Path:
    """Store events in the spool in `folder`, close it, and return its file."""
    with spool_file(folder) as file, file.transaction():
        assert file.put(events)
    return folder / FILE


def waiting(folder: Path) -> list[int]:
    """Return the numbers of the waiting events in `folder`, as seen by another process."""
    with spool_file(folder) as file:
        return [event.arrival for event, _ in file.waiting()]


def held(directory: SpoolDir) -> list[int]:
    """Return the numbers of the waiting events in an open directory."""
    (found,) = directory.commit([lambda file: [event.arrival for event, _ in file.waiting()]], NOON)
    return list(found)


SMALL = Quota(size=1024 * 1024)
"""For a small disk; a log of the usual quota would have no room there."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """Mount a disk of this size at `folder`; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class AtOnce:
    """A hand that runs everything synchronously, so that the test's clock is the only one."""

    async def do(self, work: Callable[[], Any]) -> Any:
        """Do it, after everybody else had a turn."""
        await asyncio.sleep(0)
        return work()

    def end(self) -> None:
        """There is nothing to end."""


async def put(spool: Spool, events: Sequence[Spooled]) -> PutResult:
    """Store events and return what became of them."""
    result: asyncio.Future[PutResult] = asyncio.get_running_loop().create_future()
    spool.store(events, lambda told: None if result.done() else result.set_result(told))
    return await result


@dataclass
class Opened:
    """A running spool, and its log."""

    spool: Spool
    telemetry: Telemetry
    written: io.StringIO
    task: asyncio.Task[None]

    async def put(self, events: Sequence[Spooled]) -> PutResult:
        """Store events and return what became of them."""
        return await put(self.spool, events)

    def log(self, action: str) -> list[dict[str, Any]]:
        """Return what was logged of one kind."""
        lines = [json.loads(line) for line in self.written.getvalue().splitlines()]
        return [line["eventgate_sidecar"] for line in lines if line["event"]["action"] == action]

    def counted(self, name: str) -> dict[str, float]:
        """Return the samples of a metric of the spool, by their labels."""
        lines = self.telemetry.exposition().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        split = ((*sample.partition("{"), float(value)) for sample, _, value in samples)
        return {
            labels.removesuffix("}"): value
            for metric, _, labels, value in split
            if metric == f"eventgate_sidecar_spool_{name}"
        }


@contextlib.asynccontextmanager
async def open_spool(
    folder: Path, limits: Quota | None = None, now: Callable[[], float] = lambda: NOON, **more: Any
) -> AsyncIterator[Opened]:
    """Run a spool in `folder`, and close it at the end."""
    written = io.StringIO()
    telemetry = Telemetry(["score"], make_log(written))
    spool = Spool(folder, limits or Quota(), telemetry, now, more.pop("steady", now), **more)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(spool.run())
        await spool.opened()
        try:
            yield Opened(spool, telemetry, written, task)
        finally:
            spool.close()
