"""Spools for tests: events to put in, a spool that is open, and ways to spoil its files."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar.spool.directory import FILE, SpoolDir
from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Quota, Spooled
from sidecar.spool.store import PutResult, Spool
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry

NOON = 1_800_000_000.0
"""The time at which everything here happens, unless it says another."""


def spooled(arrival: int, key: str | None = None, **more: Any) -> Spooled:
    """Return an event for `main` of stream `score`, whose bytes name its number."""
    body = b'{"meta":{"stream":"score","id":"%d"}}' % arrival
    values: dict[str, Any] = {"upstream": "main", "stream": "score", "body": body, "id": str(arrival)}
    return Spooled(**{**values, "arrival": arrival, "order_key": key, "first_seen": NOON, **more})


def arrivals(events: list[Spooled]) -> list[int]:
    """Return their numbers."""
    return [event.arrival for event in events]


@contextlib.contextmanager
def spool_file(folder: Path, limits: Quota | None = None) -> Iterator[SpoolFile]:
    """Open a spool's file in `folder`, for what takes no transaction of its own."""
    folder.mkdir(exist_ok=True)
    with contextlib.closing(SpoolFile(folder / FILE, limits or Quota())) as file:
        yield file


def fill(folder: Path, *events: Spooled) -> Path:
    """Put events into the spool in `folder`, end tidily, and return its file."""
    with spool_file(folder) as file, file.transaction():
        assert file.put(events) is not None
    return folder / FILE


def waiting(folder: Path) -> list[int]:
    """Return the numbers of the events that wait in `folder`, as another process would see them."""
    with spool_file(folder) as file:
        return [event.arrival for event, _ in file.waiting()]


def held(directory: SpoolDir) -> list[int]:
    """Return the numbers of the events that wait in an open directory."""
    (found,) = directory.commit([lambda file: [event.arrival for event, _ in file.waiting()]], NOON)
    return list(found)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """Make `folder` a disk of this size; only root can."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class AtOnce:
    """A hand that does everything where it is asked, so that a test's clock is the only one."""

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
    """A spool that runs, and what it wrote."""

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
    """Run a spool in `folder`; end it tidily."""
    written = io.StringIO()
    telemetry = Telemetry(["score"], make_log(written))
    spool = Spool(folder, limits or Quota(), telemetry, now, **more)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(spool.run())
        await spool.opened()
        try:
            yield Opened(spool, telemetry, written, task)
        finally:
            spool.close()
