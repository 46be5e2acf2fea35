"""Promises of `spoolrows`: a row is its event, and says when it is not any more."""

from __future__ import annotations

import pytest

from sidecar.spool.rows import COLUMNS, event_of, is_sound, lenient_text, row_of
from tests.spool.spools import NOON, spooled

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
