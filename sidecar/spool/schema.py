"""What the spool's file looks like inside: its tables, its rows as events, and the migration of older versions.

SQLite keeps the file whole through a crash, but it does not notice a flipped bit in an event. So each event
carries a checksum over all that must not change.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from sidecar.events.outgoing import Headers
from sidecar.spool.record import Spooled

APPLICATION_ID = 0x65675350
"""In the header of the file: 'egSP'."""

_EVENT = """
    arrival INTEGER PRIMARY KEY, upstream TEXT NOT NULL, stream TEXT NOT NULL, event_id TEXT,
    lacks_request_id INTEGER NOT NULL, hasty INTEGER NOT NULL, order_key TEXT, first_seen REAL NOT NULL,
    attempts INTEGER NOT NULL, errors INTEGER NOT NULL, last_attempt REAL, last_error TEXT NOT NULL,
    due REAL NOT NULL, size INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL
"""
STEPS = (
    (
        f"CREATE TABLE waiting ({_EVENT})",
        f"CREATE TABLE dead ({_EVENT}, reason TEXT NOT NULL, verdict BLOB NOT NULL, died REAL NOT NULL)",
        "CREATE INDEX waiting_by_upstream ON waiting (upstream, arrival, due, order_key, size)",
        "CREATE INDEX waiting_by_key ON waiting (upstream, order_key, arrival) WHERE order_key IS NOT NULL",
        "CREATE INDEX waiting_by_age ON waiting (first_seen)",
    ),
    (
        "ALTER TABLE waiting ADD COLUMN checksum INTEGER",
        "ALTER TABLE dead ADD COLUMN checksum INTEGER",
        "UPDATE waiting SET checksum = checksum_of(upstream, stream, event_id, order_key, headers, body)",
        "UPDATE dead SET checksum = checksum_of(upstream, stream, event_id, order_key, headers, body)",
    ),
)
"""From nothing to version 1, from there to version 2, and so on. A step that was released never changes."""
VERSION = len(STEPS)

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SHOWN_PROBLEMS = 20


class Unusable(Exception):
    """The file cannot serve as a spool, and never will."""

    def __init__(self, kind: Literal["damaged", "foreign", "newer"], reason: str) -> None:
        """`reason` is in words."""
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is broken, not only that it cannot be used now."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def checksum_of(*fields: object) -> int:
    """Return the checksum over some values, each with its length, so that none runs into the next."""
    found = 0
    for each in fields:
        data = each if isinstance(each, bytes) else b"" if each is None else str(each).encode()
        found = zlib.crc32(data, zlib.crc32(len(data).to_bytes(8, "big"), found))
    return found


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of a spool's file; 0 where the file is new.

    Raises:
        Unusable: it is no spool, or of a version that this sidecar does not know.

    """
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not tables and not owner and not version:
        return 0
    if owner != APPLICATION_ID:
        raise Unusable("foreign", "it is a database of another program")
    if version > VERSION:
        raise Unusable("newer", f"it has version {version}, and this sidecar knows versions up to {VERSION}")
    return int(version)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the file from `version` to this one; to be called in a transaction."""
    connection.create_function("checksum_of", 6, checksum_of, deterministic=True)
    for step in STEPS[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def problems_of(connection: sqlite3.Connection, *, thorough: bool = False) -> list[str]:
    """Return what SQLite finds wrong with the file; `thorough` looks at the indices too."""
    check = "integrity_check" if thorough else "quick_check"
    found = [str(words) for (words,) in connection.execute(f"PRAGMA {check}({_SHOWN_PROBLEMS})")]
    return [] if found == ["ok"] else found


# --- a row, and the event that it is ---

COLUMNS = (
    "arrival, upstream, stream, event_id, lacks_request_id, hasty, order_key, first_seen, attempts, errors, "
    "last_attempt, last_error, due, size, headers, body, checksum"
)
"""Of an event, in both tables."""


def row_of(event: Spooled) -> tuple[Any, ...]:
    """Return the values of `COLUMNS`."""
    headers = msgspec.json.encode(event.headers).decode()
    checksum = checksum_of(event.upstream, event.stream, event.id, event.order_key, headers, event.body)
    return (
        *(event.arrival, event.upstream, event.stream, event.id, event.lacks_request_id, event.hasty),
        *(event.order_key, event.first_seen, event.attempts, event.errors, event.last_attempt, event.last_error),
        *(event.due, event.size, headers, event.body, checksum),
    )


def is_sound(row: Sequence[Any]) -> bool:
    """Whether the checksum of a row that begins with `COLUMNS` fits; one of version 1 has none."""
    _, upstream, stream, event_id, _, _, key, *_ = row
    headers, body, checksum = row[14:17]
    return isinstance(body, bytes) and checksum in (None, checksum_of(upstream, stream, event_id, key, headers, body))


def event_of(row: Sequence[Any]) -> Spooled:
    """Make an event of a row that begins with `COLUMNS`."""
    arrival, upstream, stream, event_id, lacks, hasty, key, first_seen, attempts, errors, last_attempt, *more = row[:16]
    last_error, due, _, headers, body = more
    return Spooled(
        arrival=arrival,
        upstream=upstream,
        stream=stream,
        body=body if isinstance(body, bytes) else str(body).encode(),
        id=event_id,
        lacks_request_id=bool(lacks),
        hasty=bool(hasty),
        headers=_headers(headers),
        order_key=key,
        first_seen=first_seen,
        attempts=attempts,
        errors=errors,
        last_attempt=last_attempt,
        last_error=last_error,
        due=due,
    )


def _headers(text: str) -> Headers:
    try:
        return msgspec.json.decode(text, type=Headers)
    except ValueError:  # damaged; its checksum says so
        return ()


def lenient_text(data: bytes) -> str:
    """Read text that may be damaged; its checksum says so."""
    return data.decode(errors="replace")
