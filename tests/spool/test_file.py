"""Promises of `file`: events are stored and returned in order."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.spool.damage import committed_frames
from sidecar.spool.directory import FILE
from sidecar.spool.file import DAMAGED_EVENT, SpoolFile
from sidecar.spool.record import Batch, Gone, Quota, key_of
from tests.spool.spools import NOON, arrivals, fill, needs_root, small_disk, spool_file, spooled, waiting

EVENT = spooled(1).size
MEBIBYTE = 1024 * 1024


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SpoolFile]:
    """Return an empty spool, in a transaction."""
    with spool_file(tmp_path) as file, file.transaction():
        yield file


def hand_out(file: SpoolFile, upstream: str = "main", now: float = NOON, **more: Any) -> list[int]:
    """Return the numbers of the events handed out."""
    limits = {"events": 100, "size": 10**6, **more}
    return arrivals(file.hand_out(upstream, now, **limits).events)


# --- putting in ---


def test_an_event_is_stored_unchanged(file: SpoolFile) -> None:
    """All its fields."""
    event = spooled(3, "enwiki 1", hasty=True, headers=(("x-request-id", "r"),), lacks_request_id=False)
    assert file.put([event])
    assert list(file.waiting()) == [(event, True)]


def test_the_file_numbers_events(file: SpoolFile) -> None:
    """In the transaction; numbers of deleted events and dead letters are not reused."""
    file.put([spooled(0), spooled(0), spooled(0)])
    file.bury(3, "invalid", b"", NOON)
    file.delivered([2])
    file.put([spooled(0)])
    assert [event.arrival for event, _ in file.waiting()] == [1, 4]


def test_an_event_never_takes_the_place_of_another(tmp_path: Path) -> None:
    """Two events with one number are a bug, which is reported; neither counts as stored."""
    with spool_file(tmp_path) as file:
        with pytest.raises(sqlite3.IntegrityError), file.transaction():
            file.put([spooled(1), spooled(1)])
        assert (file.totals().events, waiting(tmp_path)) == (0, [])


def test_totals(file: SpoolFile) -> None:
    """Events and bytes, by upstream and stream, and the time of the oldest."""
    file.put([spooled(1, first_seen=NOON + 5), spooled(2), spooled(3, upstream="staging", stream="links")])
    totals = file.totals()
    assert (totals.events, totals.size, totals.oldest) == (3, 3 * EVENT + 3, NOON)  # "staging" is longer than "main"
    assert (totals.upstreams, totals.streams) == ({"main": 2, "staging": 1}, {"score": 2, "links": 1})
    file.delivered([1, 2, 3])
    totals = file.totals()
    assert (totals.events, totals.size, totals.oldest, totals.streams) == (0, 0, None, {})


@pytest.mark.parametrize(("size", "events"), [(1, 50), (1000, 5), (3000, 2), (30_000, 2)])
def test_a_full_spool_takes_nothing_of_a_request(tmp_path: Path, size: int, events: int) -> None:
    """File and log stay within the quota, however large the events; a request is stored as a whole or not."""
    quota = Quota(size=2 * MEBIBYTE)
    with spool_file(tmp_path, quota) as file:
        kept, full = 0, False
        while not full:
            with file.transaction():
                full = not file.put([spooled(0, body=b"x" * size)] * events)
            kept += 0 if full else events
        assert file.totals().events == kept > 0
        assert sum(path.stat().st_size for path in tmp_path.glob(f"{FILE}*") if path.suffix != ".db-shm") <= quota.size
        with file.transaction():
            file.bury(1, "invalid" * 100, b"v" * 4000, NOON)
            file.failed(2, "no answer" * 100, NOON)


@pytest.mark.parametrize("sizes", [(500,), (150_000, 500)], ids=["small ones", "large ones and small ones"])
def test_a_full_spool_records_failures_and_can_be_emptied(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """Recording failed attempts never uses the room needed to delete and move events."""
    with spool_file(tmp_path, Quota(size=MEBIBYTE)) as file:
        for size in sizes:
            kept = True
            while kept:
                with file.transaction():
                    kept = file.put([spooled(0, f"enwiki {file.totals().events % 7}", body=b"x" * size)])
        arrivals_ = [event.arrival for event, _ in file.waiting()]
        several = [arrivals_[at : at + 20] for at in range(0, len(arrivals_), 20)]
        for attempt in range(3):
            for part in several:
                with file.transaction():
                    for each in part:
                        file.failed(each, f"{attempt} no answer, in many words " * 60, NOON, NOON + attempt, error=True)
        for part in several:
            with file.transaction():
                file.delivered(part)
        assert file.totals().events == 0


@needs_root
@pytest.mark.parametrize(("size", "events"), [(500, 20), (100_000, 2)])
def test_a_spool_that_its_disk_is_too_small_for_can_be_emptied(tmp_path: Path, size: int, events: int) -> None:
    """It is full before the disk is, so that the log has room for failures, dead letters and deletions."""
    with small_disk(tmp_path / "disk", "4m") as disk, spool_file(disk, Quota(size=16 * MEBIBYTE)) as file:
        kept = True
        while kept:
            with file.transaction():
                kept = file.put([spooled(0, body=b"x" * size)] * events)
        totals, arrivals_ = file.totals(), file.arrivals("waiting")
        assert totals.taken > 0.9
        assert 12 * MEBIBYTE <= totals.withheld < 13 * MEBIBYTE
        several = [arrivals_[at : at + events] for at in range(0, len(arrivals_), events)]
        for part in several:
            with file.transaction():
                for each in part:
                    file.failed(each, "no answer, in many words " * 60, NOON, NOON + 1, error=True)
        for part in several:
            with file.transaction():
                file.bury(part[0], "invalid" * 100, b"v" * 4000, NOON)
                file.delivered(part)
        assert file.totals().events == 0
        with file.transaction():
            assert file.put([spooled(0, body=b"x" * size)])


def test_the_largest_event_takes_room_only_while_it_is_there(tmp_path: Path) -> None:
    """Room for a copy of it is reserved, but not for an event that was refused or has left."""
    with spool_file(tmp_path, Quota(size=MEBIBYTE)) as file, file.transaction():
        empty = file.totals().taken
        assert not file.put([spooled(0, body=b"x" * 800_000)])
        assert file.totals().taken == empty
        file.put([spooled(0, body=b"x" * 350_000)])
        file.delivered([1])
        assert file.put([spooled(0, body=b"x")] * 100)
        assert file.totals().taken < 0.1


@pytest.mark.parametrize("size", [10_000, 400])
def test_dead_letters_make_room_down_to_their_share(tmp_path: Path, size: int) -> None:
    """The oldest are dropped while they take more than a quarter of the space; then the spool is full.

    Small ones share pages. All that are dropped are counted.
    """
    quota = Quota(size=2 * MEBIBYTE)
    with spool_file(tmp_path, quota) as file, file.transaction():
        while file.put([spooled(0, body=b"x" * size)] * 10):
            pass
        buried = file.totals().events // 2
        for number in range(buried, 0, -1):
            file.bury(number, "invalid", b"", NOON - number)
        before = file.totals()
        assert before.dead + before.dropped == buried
        assert not file.put([spooled(0, body=b"x" * 1_500_000)])
        assert file.totals().dead == before.dead  # none is dropped for an event that has no room anyway
        while file.put([spooled(0, body=b"x" * 10_000)]):
            pass
        after = file.totals()
        assert after.dropped == before.dead - after.dead > 0
        assert after.dead_size == pytest.approx(quota.size / 4, rel=0.1)
        left = [letter.event.arrival for letter, _ in file.dead_letters()]
        assert left == list(range(1, len(left) + 1))


# --- handing out ---


def test_events_are_handed_out_in_order_of_arrival(file: SpoolFile) -> None:
    """Not of storing; only those for the upstream."""
    for number in (5, 2, 9):
        file.put([spooled(number)])
    file.put([spooled(1, upstream="staging")])
    assert (hand_out(file), hand_out(file, "staging"), hand_out(file, "none")) == ([2, 5, 9], [1], [])


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"events": 2}, [1, 2]),
        ({"size": 2 * EVENT}, [1, 2]),
        ({"size": 2 * EVENT - 1}, [1]),
        ({"size": 1}, [1]),
    ],
)
def test_a_batch_has_limits(file: SpoolFile, limits: dict[str, Any], expected: list[int]) -> None:
    """In events and in bytes; a single event may be larger."""
    file.put([spooled(number) for number in (1, 2, 3)])
    assert hand_out(file, **limits) == expected


def test_events_in_flight_are_not_handed_out_again(file: SpoolFile) -> None:
    """Nor those that are not due yet."""
    file.put([spooled(1), spooled(2), spooled(3, due=NOON + 1)])
    assert hand_out(file, in_flight={1}) == [2]
    assert hand_out(file, now=NOON + 1, in_flight={1}) == [2, 3]


def test_of_a_key_only_the_first_is_handed_out(file: SpoolFile) -> None:
    """Whether it is in flight or not due: the next one waits for it, other keys do not."""
    file.put([spooled(1, "a"), spooled(2, "a"), spooled(3, "b", due=NOON + 1), spooled(4, "b"), spooled(5)])
    file.put([spooled(6, "a", upstream="staging")])
    assert hand_out(file) == [1, 5]
    assert hand_out(file, in_flight={1}) == [5]
    assert hand_out(file, "staging") == [6]
    file.delivered([1])
    assert hand_out(file) == [2, 5]


def test_events_that_failed_come_after_untried_ones(file: SpoolFile) -> None:
    """On request, and then one at a time, the one that has been due for longest; likewise none that has a key."""
    file.put([spooled(1, due=NOON - 9), spooled(2, due=NOON - 10), spooled(3, "a"), spooled(4)])
    assert hand_out(file, untried_first=True) == [3, 4]
    assert hand_out(file, untried_first=True, keyed=False) == [4]
    file.delivered([3, 4])
    assert hand_out(file, untried_first=True) == [2]
    assert hand_out(file) == [1, 2]


def test_an_event_waits_for_an_earlier_live_one(file: SpoolFile) -> None:
    """All events of its key in the spool are newer."""
    file.put([spooled(5, "a"), spooled(6)])
    assert hand_out(file, held_back={key_of("main", "a")}) == [6]
    assert hand_out(file, held_back={key_of("staging", "a")}) == [5, 6]


def test_an_event_that_was_tried_live_keeps_its_place(file: SpoolFile) -> None:
    """It was stored last, but came first."""
    file.put([spooled(1, "a"), spooled(2, "a")])
    file.put([spooled(3, "a", ahead=True)])
    sent = []
    for _ in range(3):
        sent += hand_out(file)
        file.delivered(sent)
    assert sent == [3, 1, 2]


def test_keys_are_known_after_a_restart(file: SpoolFile) -> None:
    """Those with waiting events."""
    file.put([spooled(1, "a"), spooled(2, "a"), spooled(3), spooled(4, "a", upstream="staging")])
    assert file.keys() == {key_of("main", "a"), key_of("staging", "a")}


@pytest.mark.parametrize("damage", ["", ", event_id = CAST(x'ff' AS TEXT)"], ids=["bytes", "text"])
def test_a_damaged_event_is_not_sent(tmp_path: Path, damage: str) -> None:
    """Flipped bits in its bytes or its texts make it a dead letter, and the next one is handed out."""
    path = fill(tmp_path, spooled(1, "a"), spooled(2))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE waiting SET body = CAST('{{}}' AS BLOB){damage} WHERE arrival = 1")
    with spool_file(tmp_path) as file, file.transaction():
        found = file.hand_out("main", NOON, events=9, size=10**6)
        assert found == Batch([spooled(2)], [Gone(1, "score", key_of("main", "a"))])
        ((letter, sound),) = file.dead_letters()
        assert (letter.reason, letter.event.body, sound) == (DAMAGED_EVENT, b"{}", False)


# --- what becomes of them ---


def test_delivered_events_are_deleted(file: SpoolFile) -> None:
    """It returns those that were there, and the keys without further events."""
    file.put([spooled(1, "a"), spooled(2), spooled(3, "a")])
    assert file.delivered([1, 2, 9]) == [Gone(1, "score"), Gone(2, "score")]
    assert file.delivered([3, 1]) == [Gone(3, "score", key_of("main", "a"))]


def test_a_failure_is_recorded(file: SpoolFile) -> None:
    """Count, time, reason, and when it may be tried again."""
    file.put([spooled(1)])
    file.failed(1, "no answer", NOON + 1)
    file.failed(1, "no schema", NOON + 2, NOON + 9, error=True)
    ((event, sound),) = file.waiting()
    assert (event.attempts, event.errors, event.last_attempt) == (2, 1, NOON + 2)
    assert (event.last_error, event.due, sound) == ("no schema", NOON + 9, True)


def test_hurried_events_keep_their_turn(file: SpoolFile) -> None:
    """Those that were not tried come first, and the one tried last comes last."""
    file.put([spooled(number) for number in range(1, 4)])
    for number, tried in ((2, NOON + 1), (1, NOON + 2), (3, None)):
        file.failed(number, "no answer", tried, NOON + 99)
    turns: list[int] = []
    for _ in range(3):
        file.hurry_all("main")
        (event,) = file.hand_out("main", NOON + 9, events=1, size=10**6, untried_first=True).events
        file.failed(event.arrival, "no answer", NOON + 3 + len(turns), NOON + 99)
        turns.append(event.arrival)
    assert turns == [3, 2, 1]


@pytest.mark.parametrize("again", [False, True], ids=["as it was stored", "after a failure"])
def test_what_is_handed_out_is_what_the_file_has(file: SpoolFile, *, again: bool) -> None:
    """Though it is not read back where it was just stored."""
    file.put([spooled(0, hasty=True), spooled(0)])
    if again:
        file.failed(1, "no answer", NOON + 1)
    batch = file.hand_out("main", NOON + 1, events=9, size=10**6)
    assert batch.events == [event for event, _ in file.waiting()]
    assert file.hand_out("main", NOON + 1, events=9, size=10**6) == batch


def test_a_dead_letter_keeps_the_verdict(file: SpoolFile) -> None:
    """With reason and time; its bytes count, including the verdict's."""
    file.put([spooled(1)])
    assert file.bury(1, "no such field", b"a verdict", NOON + 3) == [Gone(1, "score", None)]
    assert file.bury(1, "again", b"", NOON) == []
    ((letter, sound),) = file.dead_letters()
    assert (letter.event, letter.reason, letter.verdict, letter.died) == (
        spooled(1),
        "no such field",
        b"a verdict",
        NOON + 3,
    )
    assert sound
    totals = file.totals()
    assert (totals.events, totals.size, totals.dead, totals.dead_size) == (0, 0, 1, EVENT + 9 + 13)


def test_old_events_are_found(file: SpoolFile) -> None:
    """Those first seen before a time, except for events in flight."""
    file.put([spooled(1, first_seen=NOON - 9), spooled(2, first_seen=NOON), spooled(3, first_seen=NOON - 5)])
    assert file.too_old(NOON, ()) == [1, 3]
    assert file.too_old(NOON, {1}) == [3]


def test_old_events_are_found_in_parts(file: SpoolFile) -> None:
    """Of a megabyte, or a little more."""
    file.put([spooled(0, body=b"x" * 400_000)] * 5)
    assert file.too_old(NOON + 1, ()) == [1, 2, 3]


def test_a_dead_letter_can_be_retried(file: SpoolFile) -> None:
    """At once, at its old place in the order, with age and errors reset; a deleted one cannot."""
    file.put([spooled(1, errors=19, due=NOON + 50), spooled(2)])
    file.bury(1, "errors", b"verdict", NOON)
    assert (file.revive(1, NOON + 100), file.revive(1, NOON)) == (True, False)
    assert (hand_out(file), file.totals().dead, file.totals().dead_size) == ([1, 2], 0, 0)
    event = next(event for event, _ in file.waiting())
    assert (event.errors, event.first_seen) == (0, NOON + 100)


def test_an_event_can_be_hurried(file: SpoolFile) -> None:
    """One that pauses after an error is due at once."""
    file.put([spooled(1, due=NOON + 50)])
    assert (hand_out(file), file.hurry(1), hand_out(file), file.hurry(2)) == ([], True, [1], False)


# --- transactions and other processes ---


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """Neither in the file nor in the totals."""
    with spool_file(tmp_path) as file:
        with file.transaction():
            file.put([spooled(1)])
        with contextlib.suppress(ZeroDivisionError), file.transaction():
            file.put([spooled(2)])
            file.delivered([1])
            raise ZeroDivisionError
        assert (file.totals().events, waiting(tmp_path)) == (1, [1])


def test_changes_by_another_process_are_noticed(tmp_path: Path) -> None:
    """Once each, and the totals are updated; own changes are not reported."""
    with spool_file(tmp_path) as ours, spool_file(tmp_path) as theirs:
        with ours.transaction():
            ours.put([spooled(1), spooled(2)])
            assert not ours.edited()
        with theirs.transaction():
            theirs.delivered([1])
        with ours.transaction():
            assert (ours.edited(), ours.edited()) == (True, False)
            assert ours.totals().events == 1


def test_reading_many_events_does_not_block_writers(tmp_path: Path) -> None:
    """A long read does not keep a transaction open."""
    with spool_file(tmp_path) as ours, spool_file(tmp_path) as theirs:
        with ours.transaction():
            ours.put([spooled(number) for number in range(1, 1001)])
        seen = []
        for event, _ in theirs.waiting():
            if event.arrival % 300 == 0:
                with ours.transaction():
                    ours.delivered([event.arrival + 250])
            seen.append(event.arrival)
        assert len(seen) == 1000 - 2
        assert theirs.arrivals("waiting") == [n for n in range(1, 1001) if n not in (550, 850)]


def test_free_pages_are_returned_to_the_disk(tmp_path: Path) -> None:
    """After an outage the file becomes small again."""
    path = fill(tmp_path, *(spooled(number, body=b"x" * 50_000) for number in range(1, 101)))
    with spool_file(tmp_path) as file:
        with file.transaction():
            file.delivered(range(1, 101))
        file.give_back(10_000)
    assert path.stat().st_size < 200_000  # closing it copied the log into it


def test_the_log_can_be_copied_into_the_file(tmp_path: Path) -> None:
    """From then on the file has every event without its log; before, some pages are read from the log."""
    copy = tmp_path / "copy"
    with spool_file(tmp_path) as file:
        with file.transaction():
            file.put([spooled(1)])
        shutil.copytree(tmp_path, copy)
        with spool_file(copy) as copied:
            assert copied.frames_read == committed_frames(tmp_path / FILE) > 0
        file.copy_log()
        shutil.rmtree(copy)
        copy.mkdir()
        shutil.copy(tmp_path / FILE, copy)
        assert waiting(copy) == [1]


@pytest.mark.parametrize("pragma", ["journal_mode", "synchronous", "auto_vacuum", "secure_delete"])
def test_the_file_has_durable_settings(tmp_path: Path, pragma: str) -> None:
    """Write-ahead log, an fsync for every transaction, incremental vacuum, and no zeros over what is deleted."""
    expected = {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2, "secure_delete": 0}
    with spool_file(tmp_path) as file:
        assert file._connection.execute(f"PRAGMA {pragma}").fetchone() == (expected[pragma],)


def test_a_missing_file_is_created_only_on_request(tmp_path: Path) -> None:
    """Not by readers."""
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        SpoolFile(tmp_path / FILE, Quota(), mode="write")
    assert not (tmp_path / FILE).exists()


def test_a_sound_file_has_no_problems(file: SpoolFile) -> None:
    """A full check finds nothing."""
    file.put([spooled(1), spooled(2, "a")])
    assert file.problems() == []


def test_usage_is_measured_in_pages(tmp_path: Path) -> None:
    """From nearly nothing to everything, including indexes and half empty pages."""
    with spool_file(tmp_path, Quota(size=4 * 1024 * 1024)) as file, file.transaction():
        assert file.totals().taken < 0.02
        while file.put([spooled(0, body=b" " * 100)]):
            pass
        assert file.totals().taken > 0.99


def test_dead_letters_that_would_be_dropped_do_not_count(tmp_path: Path) -> None:
    """A file full of them has room for events."""
    with spool_file(tmp_path, Quota(size=4 * 1024 * 1024)) as file, file.transaction():
        while file.put([spooled(0, body=b" " * 10_000)]):
            pass
        for arrival in file.arrivals("waiting"):
            file.bury(arrival, "invalid", b"", NOON)
        assert 0.2 < file.totals().taken < 0.3
