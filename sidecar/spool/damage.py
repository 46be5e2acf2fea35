"""Saves from a damaged spool what SQLite can still read."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidecar.spool.file import SpoolFile
from sidecar.spool.record import DeadLetter
from sidecar.spool.rows import COLUMNS, event_of, is_sound, lenient_text

ONE_BY_ONE = 64
"""How many numbers in a row are tried behind a place that cannot be read, before the steps grow."""
FURTHEST = 2**40


def salvage(path: Path, into: SpoolFile) -> int:
    """Put every sound event and dead letter of the file at `path` into another; return how many there were.

    The file itself is only read.

    Raises:
        sqlite3.Error: they cannot be written.

    """
    saved = 0
    with contextlib.closing(_look_into(path)) as connection, into.transaction():
        for row in _readable(connection, "waiting", ""):
            saved += is_sound(row) and into.put([event_of(row)]) is not None
        for row in _readable(connection, "dead", ", reason, verdict, died"):
            if is_sound(row):
                reason, verdict, died = row[-3:]
                into.restore(DeadLetter(event=event_of(row), reason=reason, verdict=bytes(verdict), died=died))
                saved += 1
    return saved


def _look_into(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", isolation_level=None, uri=True)
    connection.text_factory = lenient_text
    return connection


def _readable(connection: sqlite3.Connection, table: str, more: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table in order, leaping over those that cannot be read."""
    start, step = 0, 1
    with contextlib.suppress(sqlite3.Error):
        columns = COLUMNS if _has_checksums(connection, table) else COLUMNS.replace("checksum", "NULL")
        statement = f"SELECT {columns}{more} FROM {table} WHERE arrival >= ? ORDER BY arrival"  # noqa: S608  ours
        while start < FURTHEST:
            try:
                for row in connection.execute(statement, (start,)):
                    yield row
                    start, step = row[0] + 1, 1
                start = FURTHEST
            except sqlite3.DatabaseError:
                step += 1
                start += 1 if step <= ONE_BY_ONE else 2 ** min(step - ONE_BY_ONE, 40)


def _has_checksums(connection: sqlite3.Connection, table: str) -> bool:
    return any(name == "checksum" for _, name, *_ in connection.execute(f"PRAGMA table_info({table})"))
