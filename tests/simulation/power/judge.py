"""Opens what a power loss left with the real spool, and holds the promises about acknowledged events."""

from __future__ import annotations

import asyncio
import contextlib
import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.spool.directory import FILE
from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Quota
from sidecar.spool.store import Kept, PutResult, Spool
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry
from tests.simulation.power.disk import Mark
from tests.simulation.power.load import NOON, event, name_of
from tests.spool.spools import AtOnce

NEW = "after"
"""Name of the event that is put in once the spool is open again."""


@dataclass
class Promised:
    """What was promised until now."""

    stored: set[str] = field(default_factory=set)
    sending: set[str] = field(default_factory=set)

    def note(self, mark: Mark) -> None:
        """Take a mark; `only` says that of all that was promised these alone can still be there."""
        if mark.kind == "stored":
            self.stored |= set(mark.events)
        elif mark.kind == "sending":
            self.sending |= set(mark.events)
        elif mark.kind == "only":
            self.stored &= set(mark.events)

    @property
    def due(self) -> set[str]:
        """The events that must be found."""
        return self.stored - self.sending


@dataclass(frozen=True)
class Found:
    """What the real spool made of some files."""

    waiting: tuple[bytes, ...] = field(repr=False)  # megabytes, and asyncio shows a result to nobody in particular
    dead: tuple[bytes, ...] = field(repr=False)
    trouble: str
    """Why it cannot be used."""
    log: str

    @property
    def names(self) -> set[str]:
        """The events that are there, whole."""
        return {name for body in (*self.waiting, *self.dead) if (name := name_of(body)) is not None}

    def broken(self, promised: Promised) -> list[str]:
        """Return what it does not hold of what was promised, in words."""
        problems = []
        if self.trouble:
            problems.append(f"the spool cannot be used: {self.trouble}")
        if lost := promised.due - self.names:
            problems.append(f"lost after they were acknowledged: {', '.join(sorted(lost))}")
        if garbled := [body[:60] for body in (*self.waiting, *self.dead) if name_of(body) is None]:
            problems.append(f"no event ever had these bytes: {garbled}")
        return problems


def lay_out(state: Mapping[str, bytes | None], folder: Path) -> None:
    """Make `folder` hold these files and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, contents in state.items():
        if contents is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(contents)


async def look(folder: Path) -> Found:
    """Open the spool in this folder as a starting sidecar does, put one event in, end it, and return what it holds."""
    written = io.StringIO()
    spool = Spool(folder, Quota(), Telemetry((), make_log(written)), lambda: NOON, lambda: 0.0, AtOnce())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(spool.run())
        await spool.opened()
        trouble = spool.state.trouble
        if not trouble:
            told: asyncio.Future[PutResult] = asyncio.get_running_loop().create_future()
            spool.store([event(NEW, 10, 2**40)], told.set_result)
            result = await told
            trouble = result.reason if result.kept is not Kept.STORED else ""
        spool.close()
    waiting: tuple[bytes, ...] = ()
    dead: tuple[bytes, ...] = ()
    if not trouble:
        with contextlib.closing(SpoolFile(folder / FILE, Quota())) as file:
            waiting = tuple(event.body for event, sound in file.waiting() if sound)
            dead = tuple(letter.event.body for letter, sound in file.dead_letters() if sound)
        if NEW not in {name_of(body) for body in waiting}:
            trouble = "an event that was put in now is not there"
    return Found(waiting, dead, trouble, written.getvalue())
