"""The format of the spool's file: tables, the conversion of rows to events, older versions, and the room it has.

SQLite keeps the file consistent through a crash, but does not notice a flipped bit in an event. So each event has a
checksum over everything that must not change. A file is accepted only if its schema is exactly that of its version;
otherwise it is damaged, or of another program.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from sidecar.events.outgoing import Headers
from sidecar.spool.record import DEAD_SHARE, DeadLetter, Quota, Spooled, key_of

APPLICATION_ID = 0x65675350
"""In the file header: 'egSP'."""
PAGE = 4096
"""Page size in bytes."""
PAGE_ROWS, PAGE_BYTES = 200, 1024 * 1024
"""Limits of one read of many events, so that it neither blocks checkpoints for long nor takes much memory."""
COLUMNS = (
    "arrival, upstream, stream, came_as, event_id, lacks_request_id, hasty, order_key, ahead, first_seen, attempts, "
    "errors, last_attempt, last_error, due, size, checksum, headers, body"
)
"""The columns of an event, in both tables."""
_MARKS = ", ".join("?" * (COLUMNS.count(",") + 1))
PUT = f"INSERT INTO waiting ({COLUMNS}, head) VALUES ({_MARKS}, ?)"  # noqa: S608  ours
_THESE = "FROM waiting WHERE arrival IN (SELECT value FROM json_each(?))"
READ = f"SELECT {COLUMNS} {_THESE}"
DELIVERED = f"DELETE {_THESE} RETURNING arrival, upstream, stream, order_key, size"
"""These two get the numbers of events as a JSON array."""
FAILED = (
    "UPDATE waiting SET attempts = attempts + (?1 IS NOT NULL), errors = errors + ?2, "
    "last_attempt = coalesce(?1, last_attempt), last_error = ?3, due = ?4 WHERE arrival = ?5"
)
HURRY = (
    "UPDATE waiting SET due = coalesce(last_attempt, 0) "
    "WHERE head AND upstream = ? AND due > 0 AND due > coalesce(last_attempt, 0) AND errors = 0"
)
HEADS = (
    "SELECT arrival, order_key, due, size FROM waiting WHERE head AND upstream = ? AND (? OR order_key IS NULL) "
    "ORDER BY arrival"
)
"""The events that may be sent to an upstream; the second value: those with an order key, too."""
COUNTS = "SELECT upstream, stream, count(*), sum(size), max(size) FROM waiting INDEXED BY waiting_by_age GROUP BY 1, 2"
BURY = f"INSERT INTO dead ({COLUMNS}, reason, verdict, died) VALUES ({_MARKS}, ?, ?, ?)"  # noqa: S608  ours
GROW = "UPDATE dead SET size = size + length(verdict) + length(CAST(reason AS BLOB)) WHERE arrival = ? RETURNING size"

_EVENT = """
    upstream TEXT NOT NULL, stream TEXT NOT NULL, came_as TEXT, event_id TEXT, lacks_request_id INTEGER NOT NULL,
    hasty INTEGER NOT NULL, order_key INTEGER, ahead INTEGER NOT NULL, first_seen REAL NOT NULL,
    attempts INTEGER NOT NULL, errors INTEGER NOT NULL, last_attempt REAL, last_error TEXT NOT NULL,
    due REAL NOT NULL, size INTEGER NOT NULL, checksum INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL
"""
TABLES = (
    # AUTOINCREMENT: a number is never reused, not even the highest after its event was deleted.
    f"CREATE TABLE waiting (arrival INTEGER PRIMARY KEY AUTOINCREMENT, head INTEGER NOT NULL, {_EVENT})",
    f"CREATE TABLE dead (arrival INTEGER PRIMARY KEY, reason TEXT NOT NULL, verdict BLOB NOT NULL, died REAL NOT NULL, "
    f"{_EVENT})",
    # `head`: the first event of its order key. Only these may be sent, so only these are indexed.
    "CREATE INDEX waiting_heads ON waiting (upstream, arrival, due, order_key, size) WHERE head",
    "CREATE INDEX waiting_by_key ON waiting (order_key, ahead DESC, arrival) WHERE order_key IS NOT NULL",
    "CREATE INDEX waiting_by_age ON waiting (first_seen, upstream, stream, size)",
)
VERSION = 3

_OLD_EVENT = """
    arrival INTEGER PRIMARY KEY, upstream TEXT NOT NULL, stream TEXT NOT NULL, event_id TEXT,
    lacks_request_id INTEGER NOT NULL, hasty INTEGER NOT NULL, order_key TEXT, first_seen REAL NOT NULL,
    attempts INTEGER NOT NULL, errors INTEGER NOT NULL, last_attempt REAL, last_error TEXT NOT NULL,
    due REAL NOT NULL, size INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL
"""
_VERSION_1 = (
    f"CREATE TABLE waiting ({_OLD_EVENT})",
    f"CREATE TABLE dead ({_OLD_EVENT}, reason TEXT NOT NULL, verdict BLOB NOT NULL, died REAL NOT NULL)",
    "CREATE INDEX waiting_by_upstream ON waiting (upstream, arrival, due, order_key, size)",
    "CREATE INDEX waiting_by_key ON waiting (upstream, order_key, arrival) WHERE order_key IS NOT NULL",
    "CREATE INDEX waiting_by_age ON waiting (first_seen)",
)
_VERSION_2 = (
    *_VERSION_1,
    "ALTER TABLE waiting ADD COLUMN checksum INTEGER",
    "ALTER TABLE dead ADD COLUMN checksum INTEGER",
)
STATEMENTS = {1: _VERSION_1, 2: _VERSION_2, VERSION: TABLES}
"""The statements that create a file of each version."""
OLD_COLUMNS = (
    "arrival, upstream, stream, event_id, lacks_request_id, hasty, order_key, first_seen, attempts, errors, "
    "last_attempt, last_error, due, size, headers, body"
)
"""The columns of an event in versions 1 and 2; version 2 also has `checksum`, as the last column of each table."""

_SHOWN_PROBLEMS = 20


_TROUBLE = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOLFS),
}
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""The errors of SQLite; the second occurs if its message quotes damaged text."""


class Unusable(Exception):
    """The file cannot be used as a spool, now or later."""

    def __init__(self, kind: Literal["damaged", "foreign", "newer", "older"], reason: str, version: int = 0) -> None:
        """`reason` is in words; `version` is set for an older file."""
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.version = version


def is_trouble(error: Exception) -> bool:
    """Whether the error is temporary and says nothing about the file itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _TROUBLE


def in_words(error: Exception, path: Path | None) -> str:
    """Explain why the spool at `path` cannot be used; without a path, only what is wrong."""
    where = "" if path is None else f"{path}: "
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{where}another process has locked the file"
    if isinstance(error, sqlite3.Error):
        return f"{where}{error} ({getattr(error, 'sqlite_errorname', 'SQLite')})" if path else str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"{where}SQLite's error message cannot be decoded"
    return f"{where}{error.strerror if isinstance(error, OSError) and error.strerror else error}"


def old_checksum_of(*fields: object) -> int:
    """Return the checksum of versions 1 and 2, over values and their lengths."""
    found = 0
    for each in fields:
        data = each if isinstance(each, bytes) else b"" if each is None else str(each).encode()
        found = zlib.crc32(data, zlib.crc32(len(data).to_bytes(8, "big"), found))
    return found


# --- a file, and its version ---


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of a file, after comparing its schema; 0 if the file is new.

    Raises:
        Unusable: it is damaged, of another program, or of an unknown version.

    """
    schema = schema_of(connection)
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not schema and not owner and not version:
        return 0
    if owner == APPLICATION_ID and version in STATEMENTS and schema == _schema_of_version(version):
        return int(version)
    known = schema in [_schema_of_version(each) for each in STATEMENTS]
    if owner == APPLICATION_ID and version > VERSION and schema and not known:
        raise Unusable("newer", f"it has version {version}, and this sidecar knows versions up to {VERSION}")
    if owner == APPLICATION_ID or known or {"waiting", "dead"} <= {name for _, name, _ in schema}:
        raise Unusable("damaged", "its schema is not that of a spool")
    raise Unusable("foreign", "it is a database of another program")


def schema_of(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Return type, name and text of everything in the schema."""
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def _schema_of_version(version: int) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statement in STATEMENTS[version]:
            connection.execute(statement)
        return schema_of(connection)


def create(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file; call it in a transaction."""
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def problems_of(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong with pages, rows and indexes."""
    found = [str(words) for (words,) in connection.execute(f"PRAGMA integrity_check({_SHOWN_PROBLEMS})")]
    return [] if found == ["ok"] else found


# --- rows and events ---


def row_of(event: Spooled, size: int) -> tuple[Any, ...]:
    """Return the values of `COLUMNS` for an event of this size; SQLite numbers it unless it has a number."""
    headers = msgspec.json.encode(event.headers).decode()
    kept = (
        *(event.upstream, event.stream, event.came_as, event.id, int(event.lacks_request_id), int(event.hasty)),
        *(event.order_key, int(event.ahead), float(event.first_seen)),
    )
    tried = (event.attempts, event.errors, event.last_attempt, event.last_error, event.due)
    checksum = _checksum_of_kept(kept, headers, event.body)
    return (event.arrival or None, *kept, *tried, size, checksum, headers, event.body)


def _checksum_of_kept(kept: tuple[object, ...], headers: object, body: bytes) -> int:
    """Return the checksum of what must not change; it depends on types and order too."""
    return zlib.crc32(body, zlib.crc32(repr((*kept, headers)).encode(errors="replace")))


def event_of(row: Sequence[Any]) -> tuple[Spooled, bool]:
    """Convert a row that begins with `COLUMNS` to an event; False: the checksum is wrong."""
    arrival, upstream, stream, came_as, event_id, lacks, hasty, key, ahead, first_seen, attempts, errors, *more = row[
        :19
    ]
    last_attempt, last_error, due, _, checksum, headers, body = more
    event = Spooled(
        arrival=arrival,
        upstream=str(upstream),
        stream=str(stream),
        came_as=came_as,
        body=_bytes_of(body),
        id=event_id,
        lacks_request_id=bool(lacks),
        hasty=bool(hasty),
        headers=_headers(headers),
        order_key=key,
        ahead=bool(ahead),
        first_seen=_number(first_seen),
        attempts=_count(attempts),
        errors=_count(errors),
        last_attempt=None if last_attempt is None else _number(last_attempt),
        last_error=str(last_error),
        due=_number(due),
    )
    kept = (upstream, stream, came_as, event_id, lacks, hasty, key, ahead, event.first_seen)
    return event, isinstance(body, bytes) and checksum == _checksum_of_kept(kept, headers, body)


def old_event_of(row: Sequence[Any]) -> tuple[Spooled, bool]:
    """Convert a row of version 1 or 2 that begins with `OLD_COLUMNS` and ends with a checksum or None.

    The stream it came with is unknown: these versions only kept the one it was sent under.
    """
    arrival, upstream, stream, event_id, lacks, hasty, key, *tried = row[:12]
    headers, body = row[14:16]
    order_key = None if key is None else key_of(str(upstream), str(key))
    kept = (arrival, upstream, stream, None, event_id, lacks, hasty, order_key, False)
    event, _ = event_of((*kept, *tried, 0, 0, None, headers, body))
    expected = old_checksum_of(upstream, stream, event_id, key, headers, body)
    return event, isinstance(body, bytes) and isinstance(arrival, int) and row[-1] in (None, expected)


def rows_of(connection: sqlite3.Connection, table: str, more: str, first: int, last: int) -> Iterator[tuple[Any, ...]]:
    """Yield `COLUMNS` and `more` columns of the rows with these numbers, read in parts (`PAGE_ROWS`)."""
    sizes = f"SELECT arrival, length(body) FROM {table} WHERE arrival BETWEEN ? AND ? ORDER BY 1 LIMIT {PAGE_ROWS}"  # noqa: S608
    rows = f"SELECT {COLUMNS}{more} FROM {table} WHERE arrival BETWEEN ? AND ? ORDER BY 1"  # noqa: S608
    while found := connection.execute(sizes, (first, last)).fetchall():
        end, room = found[0][0], PAGE_BYTES - found[0][1]
        for arrival, size in found[1:]:
            room -= size
            if room < 0:
                break
            end = arrival
        yield from connection.execute(rows, (first, end)).fetchall()
        first = end + 1


def letter_of(event: Spooled, reason: object, verdict: object, died: object) -> DeadLetter:
    """Make a dead letter from an event and the other columns of its row."""
    return DeadLetter(event=event, reason=str(reason), verdict=_bytes_of(verdict), died=_number(died))


def _bytes_of(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _headers(text: object) -> Headers:
    try:
        return msgspec.json.decode(str(text), type=Headers)
    except ValueError:  # damaged, as its checksum shows
        return ()


def log_of(path: Path) -> Path:
    """Return the write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


class Space:
    """The pages that the file may have: those of its quota, or fewer if the disk is too small for all of them.

    The write-ahead log gets its share of the disk before new events do. Without it nothing could be deleted any more.
    """

    def __init__(self, path: Path, quota: Quota) -> None:
        """Assume that the disk has room for all, until `look`."""
        self._path, self._quota = path, quota
        self.quota_pages = (quota.size - quota.journal) // PAGE
        self.spare = self.quota_pages // 256 + 16
        """Pages for notes and indexes."""
        self.withheld = 0
        """Pages for which the disk has no room."""

    def look(self) -> bool:
        """Look at the disk; return whether more pages are withheld now."""
        before, missing = self.withheld, self._quota.size - self._have()
        self.withheld = max(0, -(-missing // PAGE))
        return self.withheld > before

    def _have(self) -> int:
        """Return how many bytes the file and its log take and may still take."""
        try:
            disk = os.statvfs(self._path)
        except OSError:
            return self._quota.size  # writing to it will say what is wrong
        if not disk.f_blocks:  # some network filesystems do not tell
            return self._quota.size
        have = disk.f_bavail * disk.f_frsize
        for each in (self._path, log_of(self._path)):
            with contextlib.suppress(OSError):
                have += each.stat().st_blocks * 512
        return have

    @property
    def most(self) -> int:
        """How many pages the file may have now."""
        return self.quota_pages - self.withheld

    @property
    def dead_share(self) -> int:
        """Bytes that dead letters keep when events need room."""
        return self.most * PAGE // DEAD_SHARE


def lenient_text(data: bytes) -> str:
    """Decode text that may be damaged, as its checksum shows."""
    return data.decode(errors="replace")
