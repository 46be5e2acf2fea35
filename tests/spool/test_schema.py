"""Promises of `schema`: a file is known by its header, an older one is migrated, and a row is its event."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.spool.record import Spooled, line_of
from sidecar.spool.schema import (
    APPLICATION_ID,
    COLUMNS,
    STATEMENTS,
    VERSION,
    Unusable,
    event_of,
    lenient_text,
    problems_of,
    row_of,
    version_of,
)
from tests.spool.spools import NOON, spooled


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Return a database in which nothing is."""
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
def test_what_is_not_ours_is_refused(
    connection: sqlite3.Connection, statements: list[str], kind: str, words: str
) -> None:
    """Another program's database, and a spool of a later version, are told apart from a damaged one."""
    for each in statements:
        connection.execute(each)
    with pytest.raises(Unusable, match=words) as caught:
        version_of(connection)
    assert caught.value.kind == kind


@pytest.mark.parametrize("version", STATEMENTS)
def test_a_file_is_known_by_its_schema(connection: sqlite3.Connection, version: int) -> None:
    """Of each version there was."""
    made(connection, version)
    assert version_of(connection) == version


@pytest.mark.parametrize("statement", ["DROP INDEX waiting_by_age", "ALTER TABLE dead ADD more", "DROP TABLE dead"])
def test_a_schema_that_differs_is_damage(connection: sqlite3.Connection, statement: str) -> None:
    """Whatever SQLite makes of it: one letter of it decides where events are found."""
    made(connection, VERSION)
    connection.execute(statement)
    with pytest.raises(Unusable, match="its schema is not that of a spool") as caught:
        version_of(connection)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize("number", ["application_id", "user_version"])
def test_a_schema_of_ours_under_another_name_is_damage(connection: sqlite3.Connection, number: str) -> None:
    """A flipped bit in the header does not make it the file of another program, nor a newer one."""
    made(connection, VERSION)
    connection.execute(f"PRAGMA {number} = 77")
    with pytest.raises(Unusable) as caught:
        version_of(connection)
    assert caught.value.kind == "damaged"


def made(connection: sqlite3.Connection, version: int) -> None:
    """Make an empty file one of this version."""
    for statement in STATEMENTS[version]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")


def test_a_sound_file_has_no_problems(connection: sqlite3.Connection) -> None:
    """SQLite's own word for that is ok."""
    assert problems_of(connection) == []


# --- rows ---

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
def test_an_event_is_the_same_after_a_row(event: Spooled) -> None:
    """Every field comes back."""
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
def test_a_changed_row_is_found_out(name: str, value: object) -> None:
    """Whatever of it must not change has a part in the checksum; what counts attempts has not."""
    row = list(row_of(FULL, FULL.size))
    row[COLUMNS.split(", ").index(name)] = value
    assert not event_of(row)[1]


def test_what_counts_attempts_may_change() -> None:
    """It does, with each attempt."""
    row = list(row_of(FULL, FULL.size))
    for name in ("attempts", "errors"):
        row[COLUMNS.split(", ").index(name)] = 99
    assert event_of(row)[1]


def test_nothing_runs_into_the_next_value() -> None:
    """A letter moved from one name to the next is a change."""
    checksum = COLUMNS.split(", ").index("checksum")
    one, other = spooled(1, upstream="ab", stream="c"), spooled(1, upstream="a", stream="bc")
    assert row_of(one, one.size)[checksum] != row_of(other, other.size)[checksum]


@pytest.mark.parametrize("value", [None, b"\xff", 7, 7.5, "text"])
@pytest.mark.parametrize("name", COLUMNS.split(", ")[1:])
def test_a_damaged_row_can_be_looked_at(name: str, value: object) -> None:
    """Whatever stands in a column is no reason to fail: the checksum says that it is damaged."""
    row = list(row_of(FULL, FULL.size))
    row[COLUMNS.split(", ").index(name)] = value
    event, _ = event_of(row)
    assert line_of(event)


def test_damaged_text_can_be_looked_at() -> None:
    """What is no UTF-8."""
    assert lenient_text(b"a\xff") == "a\N{REPLACEMENT CHARACTER}"
