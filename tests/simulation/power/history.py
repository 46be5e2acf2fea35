"""Lives, kills, damage and old files in a row: the recordings that power losses are taken from."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sidecar.spool.schema import APPLICATION_ID, STATEMENTS
from tests.simulation.power import load
from tests.simulation.power.disk import Disk, Mark, Op, Sync, Write, fates
from tests.simulation.power.judge import NEW, Promised, lay_out, look
from tests.simulation.power.load import NOON, event
from tests.simulation.power.trace import Recorder, python

SPOOL = "state/spool"
"""Below the recorded folder: the sidecar makes its directory itself."""
PAGE = 4096
OLD_EVENTS = 60


def _live(recorder: Recorder, seed: str, number: int, end: str) -> None:
    folder = recorder.folder / SPOOL
    status = recorder.run(python("-m", load.__name__, str(folder), str(recorder.marks), seed, str(number), end))
    if status:
        raise AssertionError(f"life {number} of seed {seed} ended with status {status}")


def well(recorder: Recorder, seed: str) -> None:
    """From nothing; killed in the middle of things twice, and ended tidily at last."""
    for number, end in enumerate(("kill", "kill", "close")):
        _live(recorder, seed, number, end)


def migrated(recorder: Recorder, seed: str) -> None:
    """From a file of the first version."""
    folder = recorder.folder / SPOOL
    folder.mkdir(parents=True)
    names = [f"old.{number}" for number in range(OLD_EVENTS)]
    with contextlib.closing(sqlite3.connect(folder / "spool.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for statement in (*STATEMENTS[1], f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 1"):
            connection.execute(statement)
        for number, name in enumerate(names, 1):
            body = event(name, 3_000, number).body
            connection.execute(
                "INSERT INTO waiting VALUES (?, 'main', 's', ?, 1, 0, NULL, ?, 0, 0, NULL, '', 0, ?, '[]', ?)",
                (number, name, NOON, len(body), body),
            )
    recorder.take_up()
    recorder.do(Mark("stored", tuple(names)))
    _live(recorder, seed, 1, "kill")
    _live(recorder, seed, 2, "close")


def damaged(recorder: Recorder, seed: str) -> None:
    """A page is overwritten between two lives; all that a start without a power loss saves must be saved with one."""
    _live(recorder, seed, 0, "close")
    damage(recorder, random.Random(seed))
    _live(recorder, seed, 1, "kill")
    _live(recorder, seed, 2, "close")


def recovered(recorder: Recorder, seed: str) -> None:
    """After a power loss, which may be followed by another while the spool recovers."""
    chance = random.Random(seed)
    _live(recorder, seed, 0, chance.choice(("kill", "close")))
    disk, promised = Disk(), Promised()
    for op in recorder.ops[: chance.randrange(len(recorder.ops) // 2, len(recorder.ops) + 1)]:
        disk.do(op)
        if isinstance(op, Mark):
            promised.note(op)
    lay_out(disk.after_power_loss(fates(disk.unsynced, chance)), recorder.folder)
    recorder.forget()
    recorder.take_up()
    recorder.do(Mark("stored", tuple(sorted(promised.due))))
    _live(recorder, seed, 1, "kill")
    _live(recorder, seed, 2, "close")


def damage(recorder: Recorder, chance: random.Random) -> None:
    """Overwrite a page of the database, so that the spool notices, and note which events can still be read."""
    name = f"{SPOOL}/spool.db"
    file = recorder.names[name]
    whole = bytes(recorder.contents[file])
    copy = recorder.folder.with_name(f"{recorder.folder.name}.copy")
    while True:
        page = chance.randrange(1, len(whole) // PAGE)
        garbage = chance.randbytes(PAGE)
        op = Write(file, page * PAGE, garbage)
        (recorder.folder / name).write_bytes(whole[: op.offset] + garbage + whole[op.offset + PAGE :])
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(recorder.folder / SPOOL, copy)
        names = asyncio.run(look(copy)).names - {NEW}
        if any(each.name.startswith("spool.db.damaged") for each in copy.iterdir()) and names:
            break
    recorder.do(Mark("only", tuple(sorted(names))))  # first: the power may go right after the damage
    recorder.do(op)
    recorder.do(Sync(file))


HISTORIES: dict[str, Callable[[Recorder, str], None]] = {
    "well": well,
    "recovered": recovered,
    "migrated": migrated,
    "damaged": damaged,
}


def record(kind: str, seed: str, folder: Path) -> list[Op]:
    """Record one of `HISTORIES`, in this folder, which is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recorder = Recorder(folder)
    recorder.marks.touch()
    HISTORIES[kind](recorder, seed)
    return recorder.ops
