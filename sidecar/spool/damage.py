"""What a damaged spool still holds: the events that SQLite can read, and what its write-ahead log says.

SQLite reads the log up to the first page whose checksum is wrong, and takes the rest for what a crash left behind;
it reports nothing. Most often it is right. But where a disk damaged the log, transactions that were acknowledged are
behind that page. So the spool compares what SQLite read with what the log has. The format of the log is
https://www.sqlite.org/fileformat2.html#the_write_ahead_log; only the heads of its pages are read.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidecar.spool.file import SpoolFile
from sidecar.spool.record import DeadLetter
from sidecar.spool.schema import COLUMNS, event_of, is_sound, lenient_text

ONE_BY_ONE = 64
"""How many numbers in a row are tried behind a place that cannot be read, before the steps grow."""
FURTHEST = 2**40
_MAGIC = (0x377F0682, 0x377F0683)
_HEAD = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_PAGE_SIZE = 4096
"""Of a spool, where the log does not say it."""


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


# --- the write-ahead log ---


def log_of(path: Path) -> Path:
    """Return the write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


def committed_frames(path: Path) -> int:
    """Return how many pages of the log of the database at `path` belong to transactions that were committed.

    Pages left over from before the log was last begun anew have another salt. What is filled with zeros, and a log
    whose head is unreadable, may have been anything, and counts.
    """
    try:
        log = log_of(path).open("rb")
    except FileNotFoundError:
        return 0
    with log:
        size = log.seek(0, 2)
        log.seek(0)
        head = log.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return 0
        magic, _, page_size, _, *salts, _, _ = _HEAD.unpack(head)
        if magic not in _MAGIC or not 512 <= page_size <= 65536:
            return (size - _HEAD.size) // (_FRAME.size + _PAGE_SIZE)
        committed = 0
        for number in range((size - _HEAD.size) // (_FRAME.size + page_size)):
            log.seek(_HEAD.size + number * (_FRAME.size + page_size))
            page, pages_after, *its_salts, _, _ = _FRAME.unpack(log.read(_FRAME.size))
            if page == 0 or (
                its_salts == salts and pages_after
            ):  # no page has the number 0: zeros were written over it
                committed = number + 1
        return committed
