"""Runs one scenario: sets it up, warms up, starts the fault, ends it, waits until traffic is back, and counts."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netns import pod
from tests.netns.lab import Lab
from tests.netns.measure import Answer, Book, Measured, Timeline, measure
from tests.netns.network import eventually
from tests.netns.scenarios import Scenario

WARM_SECONDS = 2.0
CALM_SECONDS = 0.5
"""How long traffic continues after it is back."""
SETTLE_SECONDS = 0.2
BACK_COUNT = 20
"""Traffic counts as back after this many events in a row at the preferred datacenter."""


class Journal:
    """A growing file of JSON lines, read from its end at the time this was created."""

    def __init__(self, path: Path) -> None:
        """The file must exist."""
        self._path = path
        self._read = path.stat().st_size

    def news(self) -> Iterator[dict[str, Any]]:
        """Yield the new complete lines."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield json.loads(line)


@dataclass(frozen=True)
class Watch:
    """Follows the files of the traffic and of the datacenters."""

    book: Book
    answers: Journal
    hosts: dict[str, Journal]

    def look(self) -> Book:
        """Return everything known so far."""
        # The answers come first: an event that is answered by then is in a file by now.
        self.book.answers += [Answer.read(record) for record in self.answers.news()]
        for host, journal in self.hosts.items():
            self.book.note_written(host, [record["event"]["meta"]["id"] for record in journal.news()])
        return self.book


async def run(lab: Lab, scenario: Scenario, folder: Path) -> Measured:
    """Run one scenario; the files of the sidecar and of the traffic stay in `folder`."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    async with AsyncExitStack() as around:
        await around.enter_async_context(scenario.setting(lab))
        fault = await around.enter_async_context(AsyncExitStack())
        injected = clock()
        if scenario.at_start:
            await fault.enter_async_context(scenario.fault(lab))
        hosts = {host: Journal(each.output) for host, each in lab.eventgates.items()}
        traffic = await around.enter_async_context(pod.traffic(lab, folder, request_ids=scenario.request_ids))
        sidecar = await around.enter_async_context(pod.sidecar(lab, folder, wait_ready=not scenario.at_start))
        watch = Watch(Book(), Journal(traffic.output), hosts)
        traffic.start()
        if not scenario.at_start:
            await asyncio.sleep(WARM_SECONDS)
            injected = clock()
            await fault.enter_async_context(scenario.fault(lab))
        healed = injected
        if scenario.heals:
            await asyncio.sleep(scenario.hold)
            await fault.aclose()
            healed = clock()
        back = await _wait_until_back(watch, scenario, healed)
        await asyncio.sleep(CALM_SECONDS)
        await traffic.finish()
    await asyncio.sleep(SETTLE_SECONDS)
    timeline = Timeline(begun, injected, healed, clock())
    grace = scenario.bars.outage.recovered_after if scenario.bars.outage else 0.0
    measured = measure(watch.look(), timeline, scenario.home, grace=grace, back=back)
    return dataclasses.replace(
        measured,
        listened_after=sidecar.listened_after,
        idled=sidecar.idled,
        exit_status=sidecar.exit_status,
    )


async def _wait_until_back(watch: Watch, scenario: Scenario, healed: float) -> bool:
    def back() -> bool:
        return watch.look().is_back(scenario.home, healed, BACK_COUNT)

    return await eventually(back, scenario.bars.back_after + 1.0)


def log_tail(folder: Path, lines: int = 25) -> str:
    """Return the end of the sidecar's log, with a readable line for each line of ECS JSON."""
    log = folder / "sidecar.log"
    found = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join(_readable(line) for line in found)


def _readable(line: str) -> str:
    try:
        record = json.loads(line)
        return f"{record['@timestamp'][11:23]} {record.get('log.level', ''):7} {record['message']}"
    except (ValueError, KeyError, TypeError):
        return line
