"""Promises of `damage`: readable events of a damaged spool are saved, and all committed pages are counted."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

import pytest

from sidecar.spool.damage import committed_frames, salvage
from sidecar.spool.directory import FILE
from sidecar.spool.file import SpoolFile
from sidecar.spool.record import DeadLetter, Quota
from sidecar.spool.schema import PAGE, log_of
from tests.spool.spools import NOON, fill, old_event, old_file, spool_file, spooled


def saved(path: Path, folder: Path) -> tuple[int, list[int], list[int]]:
    """Return how many were saved, and the numbers of events and dead letters."""
    with contextlib.closing(SpoolFile(folder / "fresh.db", Quota(), mode="build")) as file:
        count = salvage(path, file)
        events = [event.arrival for event, sound in file.waiting() if sound]
        return count, events, [letter.event.arrival for letter, _ in file.dead_letters()]


def spoil_page_of(path: Path, words: bytes) -> None:
    """Zero the page that has `words`."""
    data = bytearray(path.read_bytes())
    place = data.index(words) // PAGE * PAGE
    data[place : place + PAGE] = bytes(PAGE)
    path.write_bytes(data)


def test_all_of_a_sound_file_is_saved(tmp_path: Path) -> None:
    """Events and dead letters with all fields; the file itself is unchanged."""
    path = fill(tmp_path / "old", *(spooled(number, "a") for number in range(1, 6)))
    with spool_file(tmp_path / "old") as file, file.transaction():
        file.bury(2, "invalid", b"verdict", NOON)
    before = path.read_bytes()
    assert saved(path, tmp_path) == (5, [1, 3, 4, 5], [2])
    assert path.read_bytes() == before
    with contextlib.closing(SpoolFile(tmp_path / "fresh.db", Quota(), mode="read")) as file:
        ((letter, _),) = file.dead_letters()
        assert (letter.reason, letter.verdict) == ("invalid", b"verdict")


def test_events_around_a_broken_page_are_saved(tmp_path: Path) -> None:
    """Only those on the page are lost."""
    path = fill(tmp_path / "old", *(spooled(number, body=b"%04d" % number * 200) for number in range(1, 301)))
    spoil_page_of(path, b"0150" * 200)
    count, events, _ = saved(path, tmp_path)
    lost = set(range(1, 301)) - set(events)
    assert count == len(events)
    assert 150 in lost
    assert len(lost) <= PAGE // 800


def test_a_damaged_event_is_not_saved(tmp_path: Path) -> None:
    """With one flipped bit it would reach EventGate changed."""
    path = fill(tmp_path / "old", spooled(1), spooled(2))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"id":"2"', b'"id":"3"'))
    assert saved(path, tmp_path) == (1, [1], [])


def test_nothing_is_saved_from_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    """Zeros, noise and an empty file cause no error."""
    for number, content in enumerate((bytes(5 * PAGE), b"noise" * 1000, b"")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / FILE).write_bytes(content)
        assert saved(folder / FILE, folder) == (0, [], [])


@pytest.mark.parametrize("page", range(1, 12))
def test_events_are_found_without_the_header_the_schema_or_interior_pages(tmp_path: Path, page: int) -> None:
    """Not the header, the schema or an interior page: only the events on the page are lost."""
    path = fill(tmp_path / "old", *(spooled(number, body=b"%04d" % number * 200) for number in range(1, 301)))
    data = bytearray(path.read_bytes())
    lost = len(set(re.findall(rb"(?:(\d{4})\1{20})", data[(page - 1) * PAGE : page * PAGE])))
    data[(page - 1) * PAGE : page * PAGE] = bytes(PAGE)
    path.write_bytes(data)
    assert saved(path, tmp_path)[0] >= 300 - lost


@pytest.mark.parametrize("size", [0, 100, 4000, 4061, 4062, 8154, 30_000, 300_000])
def test_events_of_every_size_are_saved(tmp_path: Path, size: int) -> None:
    """Including those on overflow pages."""
    path = fill(tmp_path / "old", *(spooled(number, body=b"%d" % number * size) for number in range(1, 8)))
    path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
    with contextlib.closing(SpoolFile(tmp_path / "fresh.db", Quota(), mode="build")) as file:
        assert salvage(path, file) == 7
        assert [event.body for event, _ in file.waiting()] == [b"%d" % number * size for number in range(1, 8)]


def test_events_that_just_fit_into_pages_are_saved(tmp_path: Path) -> None:
    """Around the sizes at which a row needs a first and a second overflow page."""
    sizes = [*range(3700, 4100), *range(7800, 8200)]
    path = fill(tmp_path / "old", *(spooled(number, body=b"x" * size) for number, size in enumerate(sizes, 1)))
    assert saved(path, tmp_path)[1] == list(range(1, len(sizes) + 1))


def test_times_are_saved_with_their_fractions(tmp_path: Path) -> None:
    """SQLite stores a whole number of seconds in another way."""
    event = spooled(1, first_seen=NOON + 0.25, attempts=1, last_attempt=NOON + 7.5, due=NOON + 1e-6)
    path = fill(tmp_path / "old", event)
    with contextlib.closing(SpoolFile(tmp_path / "fresh.db", Quota(), mode="build")) as file:
        assert salvage(path, file) == 1
        assert [found for found, _ in file.waiting()] == [event]


def test_an_event_with_a_lost_part_costs_no_other(tmp_path: Path) -> None:
    """Its row leads nowhere, and is passed over."""
    path = fill(tmp_path / "old", *(spooled(number, body=b"%04d" % number * 3000) for number in range(1, 8)))
    spoil_page_of(path, b"0004" * 1000)
    assert saved(path, tmp_path)[1] == [1, 2, 3, 5, 6, 7]


def test_a_file_that_is_cut_is_saved_up_to_the_cut(tmp_path: Path) -> None:
    """Wherever it is truncated."""
    path = fill(tmp_path / "old", *(spooled(number, body=b"%04d" % number * 200) for number in range(1, 301)))
    data = path.read_bytes()
    counts = []
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        path.write_bytes(data[: len(data) * number // 10 + 77])
        counts.append(saved(path, tmp_path / str(number))[0])
    assert counts == sorted(counts)
    assert counts[9] > 240


def test_delivered_events_are_not_saved(tmp_path: Path) -> None:
    """Their bytes may still be on a free page."""
    path = fill(tmp_path / "old", *(spooled(number, body=b"%04d" % number * 200) for number in range(1, 301)))
    with spool_file(tmp_path / "old") as file, file.transaction():
        file.delivered(range(1, 280))
    assert saved(path, tmp_path)[1] == list(range(280, 301))


def test_events_only_in_the_log_are_saved(tmp_path: Path) -> None:
    """From the file of a killed sidecar with a damaged first page."""
    path = crashed(tmp_path, 3)
    path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
    assert saved(path, tmp_path) == (3, [1, 2, 3], [])


@pytest.mark.parametrize("version", [1, 2])
def test_events_of_an_older_version_are_saved(tmp_path: Path, version: int) -> None:
    """With numbers and order keys; version 1 has no checksum and is trusted."""
    path = old_file(tmp_path, version)
    with contextlib.closing(SpoolFile(tmp_path / "fresh.db", Quota(), mode="build")) as file:
        assert salvage(path, file) == 2
        assert [event for event, _ in file.waiting()] == [old_event(1, attempts=2, last_error="no answer")]
        ((letter, _),) = file.dead_letters()
        assert letter == DeadLetter(event=old_event(2), reason="invalid", verdict=b"[]", died=NOON)


# --- the write-ahead log ---


def crashed(folder: Path, transactions: int) -> Path:
    """Return the file of a spool killed after `transactions` transactions, whose log was not copied yet."""
    with spool_file(folder / "alive") as file:
        for number in range(1, transactions + 1):
            with file.transaction():
                file.put([spooled(number)])
        for path in (folder / "alive" / FILE, log_of(folder / "alive" / FILE)):
            shutil.copy(path, folder / path.name)
    return folder / FILE


def test_all_pages_of_a_sound_log_count(tmp_path: Path) -> None:
    """They are committed, and SQLite reads the same number."""
    path = crashed(tmp_path, 3)
    frames = committed_frames(path)
    assert frames >= 3
    with spool_file(tmp_path) as file:
        assert file.frames_read == frames
        assert file.totals().events == 3


def test_uncommitted_pages_do_not_count(tmp_path: Path) -> None:
    """An interrupted write was not acknowledged."""
    path = crashed(tmp_path, 3)
    frames = committed_frames(path)
    with log_of(path).open("r+b") as log:
        log.truncate(log.seek(0, 2) - 100)
    assert committed_frames(path) < frames


def test_uncommitted_events_are_not_saved(tmp_path: Path) -> None:
    """Their producers were not told that they are here."""
    with spool_file(tmp_path / "alive") as file:
        for numbers in ([1], range(2, 50)):
            with file.transaction():
                file.put([spooled(number, body=b"x" * 1000) for number in numbers])
        for path in (tmp_path / "alive" / FILE, log_of(tmp_path / "alive" / FILE)):
            shutil.copy(path, tmp_path / path.name)
    with log_of(tmp_path / FILE).open("r+b") as log:
        log.truncate(log.seek(0, 2) - PAGE)  # in the last page of the second transaction
    assert saved(tmp_path / FILE, tmp_path) == (1, [1], [])


def test_old_pages_do_not_count(tmp_path: Path) -> None:
    """SQLite resets the log without truncating it; the old pages have another salt."""
    path = crashed(tmp_path, 3)
    data = bytearray(log_of(path).read_bytes())
    data[16:20] = bytes(byte ^ 1 for byte in data[16:20])
    log_of(path).write_bytes(data)
    assert committed_frames(path) == 0


def test_all_pages_of_a_log_with_an_unreadable_header_count(tmp_path: Path) -> None:
    """Zeroed pages may have been committed as well."""
    path = crashed(tmp_path, 3)
    size = log_of(path).stat().st_size
    log_of(path).write_bytes(bytes(size))
    assert committed_frames(path) == (size - 32) // 4120


def test_a_missing_log_has_no_pages(tmp_path: Path) -> None:
    """Nor has an empty one, or one with half a header."""
    path = tmp_path / FILE
    assert committed_frames(path) == 0
    for head in (b"", b"x" * 31):
        log_of(path).write_bytes(head)
        assert committed_frames(path) == 0
