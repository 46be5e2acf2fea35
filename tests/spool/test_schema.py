"""Promises of `schema`: a file is known by its header, an older one is migrated, and a row is its event."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Quota
from sidecar.spool.schema import (
    APPLICATION_ID,
    COLUMNS,
    STEPS,
    VERSION,
    Unusable,
    event_of,
    is_damage,
    is_sound,
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
            [f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION + 1}"],
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


def test_a_file_of_version_1_is_migrated(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """Its events and dead letters are there as before, and get the checksum that version 1 did not know."""
    for statement in STEPS[0]:
        connection.execute(statement)
    values = "'main', 'score', 'an-id', 1, 0, NULL, ?, 2, 0, NULL, 'no answer', 0, 300, '[]', ?"
    connection.execute(f"INSERT INTO waiting VALUES (1, {values})", (NOON, b"{}"))
    connection.execute(f"INSERT INTO dead VALUES (2, {values}, 'invalid', ?, ?)", (NOON, b"{}", b"[]", NOON))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with contextlib.closing(SpoolFile(tmp_path / "spool.db", Quota())) as file:
        assert file.migrated_from == 1
        ((event, sound),) = file.waiting()
        ((letter, letter_sound),) = file.dead_letters()
        assert (event.arrival, event.id, event.attempts, sound) == (1, "an-id", 2, True)
        assert (letter.event.arrival, letter.reason, letter_sound) == (2, "invalid", True)
    with contextlib.closing(SpoolFile(tmp_path / "spool.db", Quota())) as again:
        assert (again.migrated_from, again.totals().events) == (None, 1)


def test_a_migration_that_is_cut_short_leaves_the_older_version(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """All steps are one transaction: where one fails the file is what it was."""
    connection.execute(STEPS[0][1])  # without the table that the next version changes
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    with pytest.raises(sqlite3.OperationalError, match="no such table: waiting"):
        SpoolFile(tmp_path / "spool.db", Quota())
    assert version_of(connection) == 1


def test_damage_is_told_from_trouble() -> None:
    """A broken file is one thing, a full disk another."""
    with pytest.raises(sqlite3.OperationalError) as trouble, contextlib.closing(sqlite3.connect("/no/such/file")):
        pass
    assert not is_damage(trouble.value)
    assert not is_damage(sqlite3.OperationalError("without a code"))


def test_a_sound_file_has_no_problems(connection: sqlite3.Connection) -> None:
    """SQLite's own word for that is ok."""
    assert (problems_of(connection), problems_of(connection, thorough=True)) == ([], [])


# --- rows ---

FULL = spooled(
    5,
    "enwiki 1",
    hasty=True,
    lacks_request_id=False,
    headers=(("x-request-id", "r"), ("user-agent", "é")),
    attempts=3,
    errors=2,
    last_attempt=NOON + 1,
    last_error="no answer",
    due=NOON + 9,
)


@pytest.mark.parametrize("event", [FULL, spooled(1), spooled(2, id=None, body=b"\x00\xff")])
def test_an_event_is_the_same_after_a_row(event: object) -> None:
    """Every field comes back."""
    row = row_of(event)  # type: ignore[arg-type]
    assert len(row) == len(COLUMNS.split(","))
    assert (event_of(row), is_sound(row)) == (event, True)


@pytest.mark.parametrize("name", ["upstream", "stream", "event_id", "order_key", "headers", "body"])
def test_a_changed_row_is_found_out(name: str) -> None:
    """Whatever of it must not change has a part in the checksum; what counts attempts has not."""
    row = list(row_of(FULL))
    place = COLUMNS.split(", ").index(name)
    row[place] = b"changed" if name == "body" else "changed"
    assert not is_sound(row)
    assert is_sound([*row_of(FULL)[:8], 99, *row_of(FULL)[9:]])


def test_nothing_runs_into_the_next_value() -> None:
    """A letter moved from one name to the next is a change."""
    assert row_of(spooled(1, upstream="ab", stream="c"))[-1] != row_of(spooled(1, upstream="a", stream="bc"))[-1]


def test_damaged_headers_and_text_can_be_looked_at() -> None:
    """What is no JSON, or no UTF-8, is no reason to fail: the checksum says that it is damaged."""
    row = list(row_of(FULL))
    row[14] = "[[no JSON"
    assert event_of(row).headers == ()
    assert lenient_text(b"a\xff") == "a\N{REPLACEMENT CHARACTER}"
