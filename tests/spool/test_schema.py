"""Promises of `schema`: recognising versions, migration, and rows."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.spool.record import Spooled, line_of
from sidecar.spool.schema import (
    APPLICATION_ID,
    COLUMNS,
    PUT,
    STATEMENTS,
    VERSION,
    Unusable,
    create,
    event_of,
    in_words,
    is_trouble,
    lenient_text,
    old_event_of,
    problems_of,
    row_of,
    rows_of,
    schema_of,
    version_of,
)
from tests.spool.spools import NOON, spooled


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Return an empty database."""
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as connection:
        yield connection


def test_a_new_file_has_version_0(connection: sqlite3.Connection) -> None:
    """An empty database may become a spool."""
    assert version_of(connection) == 0


@pytest.mark.parametrize(
    ("statements", "kind", "words"),
    [
        (["CREATE TABLE notes (text)"], "foreign", "it is a database of another program"),
        (["PRAGMA application_id = 42"], "foreign", "it is a database of another program"),
        (["PRAGMA user_version = 3"], "foreign", "it is a database of another program"),
        (["CREATE TABLE notes (text)", "PRAGMA user_version = 99"], "foreign", "it is a database of another program"),
        (
            [
                "CREATE TABLE newer (text)",
                f"PRAGMA application_id = {APPLICATION_ID}",
                f"PRAGMA user_version = {VERSION + 1}",
            ],
            "newer",
            f"it has version {VERSION + 1}, and this sidecar knows versions up to {VERSION}",
        ),
    ],
)
def test_foreign_and_newer_files_are_refused(
    connection: sqlite3.Connection, statements: list[str], kind: str, words: str
) -> None:
    """They are distinguished from damaged ones."""
    for each in statements:
        connection.execute(each)
    with pytest.raises(Unusable, match=words) as caught:
        version_of(connection)
    assert caught.value.kind == kind


@pytest.mark.parametrize("version", STATEMENTS)
def test_a_version_is_recognised_by_its_schema(connection: sqlite3.Connection, version: int) -> None:
    """For each version."""
    made(connection, version)
    assert version_of(connection) == version


@pytest.mark.parametrize(("version", "checksum"), [(1, 0x6F66B6E7), (2, 0x494770AD), (3, 0x02CDCDC9)])
def test_the_schema_of_a_version_never_changes(connection: sqlite3.Connection, version: int, checksum: int) -> None:
    """Files of it exist; another schema needs another version."""
    made(connection, version)
    assert zlib.crc32(repr(schema_of(connection)).encode()) == checksum


@pytest.mark.parametrize("statement", ["DROP INDEX waiting_by_age", "ALTER TABLE dead ADD more", "DROP TABLE dead"])
def test_a_changed_schema_is_damage(connection: sqlite3.Connection, statement: str) -> None:
    """Even if SQLite accepts it: it decides where events are found."""
    made(connection, VERSION)
    connection.execute(statement)
    with pytest.raises(Unusable, match="its schema is not that of a spool") as caught:
        version_of(connection)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize(
    "statements",
    [
        ["PRAGMA application_id = 77"],
        ["PRAGMA user_version = 77"],
        ["PRAGMA application_id = 77", "DROP INDEX waiting_by_age"],
    ],
)
def test_a_changed_header_is_damage(connection: sqlite3.Connection, statements: list[str]) -> None:
    """A flipped bit does not make it foreign or newer."""
    made(connection, VERSION)
    for each in statements:
        connection.execute(each)
    with pytest.raises(Unusable) as caught:
        version_of(connection)
    assert caught.value.kind == "damaged"


def made(connection: sqlite3.Connection, version: int) -> None:
    """Create an empty file of this version."""
    for statement in STATEMENTS[version]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")


def test_a_sound_file_has_no_problems(connection: sqlite3.Connection) -> None:
    """SQLite reports ok."""
    assert problems_of(connection) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite3.OperationalError("disk I/O error"), "/s: disk I/O error (SQLite)"),
        (UnicodeDecodeError("utf-8", b"a", 0, 1, "bad"), "/s: SQLite's error message cannot be decoded"),
        (OSError(28, "No space left on device", "/s/spool.db"), "/s: No space left on device"),
        (OSError("another sidecar uses it"), "/s: another sidecar uses it"),
        (Unusable("damaged", "it is empty"), "/s: it is empty"),
    ],
)
def test_an_error_is_explained(error: Exception, words: str) -> None:
    """With the place, if there is one."""
    assert in_words(error, Path("/s")) == words
    assert in_words(error, None) == words.removeprefix("/s: ").removesuffix(" (SQLite)")


def test_a_locked_file_is_explained(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """Another process has it, and that passes."""
    connection.execute("BEGIN EXCLUSIVE")
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db", timeout=0)) as other:
        with pytest.raises(sqlite3.OperationalError) as locked:
            version_of(other)
        assert in_words(locked.value, None) == "another process has locked the file"
        assert is_trouble(locked.value)


# --- rows ---

OLD = ["main", "score", "1", 0, 1, "enwiki", NOON, 2, 1, NOON, "no answer", NOON + 9, 300, "[]", b"{}"]


@pytest.mark.parametrize(
    ("more", "changed", "sound"),
    [
        ([None], {}, True),
        ([0xA81D4AAF], {}, True),
        ([0xA81D4AAF], {2: "links"}, False),
        ([0xA81D4AAF], {15: b"{ }"}, False),
        ([None], {15: "{}"}, False),
        ([None], {0: None}, False),
        ([0x75ADBE9A], {3: None, 6: None}, True),
    ],
)
def test_a_row_of_an_older_version_becomes_an_event(
    more: list[object], changed: dict[int, object], sound: bool
) -> None:
    """Version 1 has no checksum; that of version 2 is over what must not change. The event is due at once."""
    row = [7, *OLD]
    for column, value in changed.items():
        row[column] = value
    event, is_sound = old_event_of([*row, *more])
    assert is_sound is sound
    if not changed:
        tried = {"attempts": 2, "errors": 1, "last_attempt": NOON, "last_error": "no answer"}
        assert event == spooled(7, "enwiki", id="1", body=b"{}", lacks_request_id=False, hasty=True, **tried)


FULL = spooled(
    5,
    "enwiki 1",
    came_as="page_change",
    hasty=True,
    ahead=True,
    lacks_request_id=False,
    headers=(("x-request-id", "r"), ("user-agent", "é")),
    attempts=3,
    errors=2,
    last_attempt=NOON + 1,
    last_error="no answer",
    due=NOON + 9,
)


@pytest.mark.parametrize("event", [FULL, spooled(1), spooled(2, id=None, body=b"\x00\xff")])
def test_a_row_keeps_all_fields(event: Spooled) -> None:
    """In both directions."""
    row = row_of(event, event.size)
    assert len(row) == len(COLUMNS.split(","))
    assert event_of(row) == (event, True)


@pytest.mark.parametrize(
    "name",
    [
        *("upstream", "stream", "came_as", "event_id", "lacks_request_id", "hasty", "order_key", "ahead"),
        *("first_seen", "headers", "body"),
    ],
)
@pytest.mark.parametrize("value", ["changed", b"changed", 7.5])
def test_a_changed_row_is_detected(name: str, value: object) -> None:
    """The checksum covers everything but the attempts."""
    row = list(row_of(FULL, FULL.size))
    row[COLUMNS.split(", ").index(name)] = value
    assert not event_of(row)[1]


def test_attempts_are_not_part_of_the_checksum() -> None:
    """They change with each attempt."""
    row = list(row_of(FULL, FULL.size))
    for name in ("attempts", "errors"):
        row[COLUMNS.split(", ").index(name)] = 99
    assert event_of(row)[1]


def test_the_checksum_separates_values() -> None:
    """A letter moved from one name to the next is a change."""
    checksum = COLUMNS.split(", ").index("checksum")
    one, other = spooled(1, upstream="ab", stream="c"), spooled(1, upstream="a", stream="bc")
    assert row_of(one, one.size)[checksum] != row_of(other, other.size)[checksum]


@pytest.mark.parametrize("value", [None, b"\xff", 7, 7.5, "text"])
@pytest.mark.parametrize("name", COLUMNS.split(", ")[1:])
def test_a_damaged_row_can_be_read(name: str, value: object) -> None:
    """Any value in a column is accepted: the checksum shows the damage."""
    row = list(row_of(FULL, FULL.size))
    row[COLUMNS.split(", ").index(name)] = value
    event, _ = event_of(row)
    assert line_of(event)


def test_damaged_numbers_and_headers_are_none() -> None:
    """They are read as 0 and as no headers."""
    row = list(row_of(FULL, FULL.size))
    for name in ("attempts", "errors", "due", "headers"):
        row[COLUMNS.split(", ").index(name)] = "damaged"
    event, _ = event_of(row)
    assert (event.attempts, event.errors, event.due, event.headers) == (0, 0, 0.0, ())


def test_large_rows_are_read_a_few_at_a_time(connection: sqlite3.Connection) -> None:
    """About a megabyte, which takes little memory and lets the file change meanwhile."""
    create(connection)
    assert version_of(connection) == VERSION
    for number in (1, 2, 3):
        event = spooled(number, body=b"x" * 600_000)
        connection.execute(PUT, (*row_of(event, event.size), True))
    rows = rows_of(connection, "waiting", "", 1, 3)
    seen = [next(rows)[0]]
    connection.execute("DELETE FROM waiting WHERE arrival = 2")
    assert [*seen, *(row[0] for row in rows)] == [1, 3]


def test_damaged_text_can_be_read() -> None:
    """Such as invalid UTF-8."""
    assert lenient_text(b"a\xff") == "a\N{REPLACEMENT CHARACTER}"
