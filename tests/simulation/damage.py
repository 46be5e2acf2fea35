"""Damages the spool's file, and tells which events can still be read from it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

from sidecar.spool.directory import SpoolDir, Trouble
from sidecar.spool.record import Quota

PAGE = 4096


def do(path: Path, how: str, place: float, bit: int) -> None:
    """Damage a file: `zeros` in a page, `flip` a bit, `cut` its end, or a bit of its `header`.

    Its log is checkpointed first, as at an orderly end; otherwise SQLite would not read the damaged page.
    """
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    data = bytearray(path.read_bytes())
    at = int(place * len(data))
    if how == "zeros":
        page = at // PAGE * PAGE
        data[page : page + PAGE] = bytes(min(PAGE, len(data) - page))
    elif how == "cut":
        del data[max(PAGE, len(data) - PAGE) :]
    else:
        at = int(place * 100) if how == "header" else at
        data[at] ^= 1 << bit
    path.write_bytes(data)


def held(folder: Path) -> set[int]:
    """Return the numbers of the events in an undamaged file with its log."""
    return _read(_copy(folder))


def readable(folder: Path) -> set[int]:
    """Return the numbers of the events that the sidecar saves from a damaged file if nothing disturbs it."""
    copy = _copy(folder)
    spool = SpoolDir(copy, Quota())
    try:
        spool.commit([], 0.0)
    except Trouble:
        return set()
    finally:
        spool.close()
    return _read(copy)


def _copy(folder: Path) -> Path:
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*-shm", "lock"))
    return copy


def _read(folder: Path) -> set[int]:
    connection = sqlite3.connect(folder / "spool.db")
    try:
        rows = connection.execute("SELECT body FROM waiting UNION ALL SELECT body FROM dead").fetchall()
        return {json.loads(body)["sim"]["n"] for (body,) in rows}
    except (sqlite3.Error, ValueError, TypeError, KeyError):
        return set()
    finally:
        connection.close()
