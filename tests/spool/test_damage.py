"""Promises of `damage`: what can be read of a damaged spool is saved, and no committed page goes uncounted."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

from sidecar.spool.damage import committed_frames, log_of, salvage
from sidecar.spool.directory import FILE
from sidecar.spool.schema import STEPS
from tests.spool.spools import NOON, fill, spool_file, spooled

PAGE = 4096


def saved(path: Path, folder: Path) -> tuple[int, list[int], list[int]]:
    """Return how many were saved, and the numbers of events and dead letters."""
    with spool_file(folder / "fresh") as file:
        count = salvage(path, file)
        events = [event.arrival for event, sound in file.waiting() if sound]
        return count, events, [letter.event.arrival for letter, _ in file.dead_letters()]


def spoil_page_of(path: Path, words: bytes) -> None:
    """Write zeros over the page in which `words` are."""
    data = bytearray(path.read_bytes())
    place = data.index(words) // PAGE * PAGE
    data[place : place + PAGE] = bytes(PAGE)
    path.write_bytes(data)


def test_all_of_a_sound_file_is_saved(tmp_path: Path) -> None:
    """Events and dead letters, with all that is known of them; the file itself stays as it is."""
    path = fill(tmp_path / "old", *(spooled(number, "a") for number in range(1, 6)))
    with spool_file(tmp_path / "old") as file, file.transaction():
        file.bury(2, "invalid", b"verdict", NOON)
    before = path.read_bytes()
    assert saved(path, tmp_path) == (5, [1, 3, 4, 5], [2])
    assert path.read_bytes() == before
    with spool_file(tmp_path / "fresh") as file:
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
    """One flipped bit in its bytes, and it would reach EventGate as something else."""
    path = fill(tmp_path / "old", spooled(1), spooled(2))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"id":"2"', b'"id":"3"'))
    assert saved(path, tmp_path) == (1, [1], [])


def test_nothing_is_saved_of_what_is_no_database(tmp_path: Path) -> None:
    """Zeros, noise, and nothing at all are no reason to fail."""
    for number, content in enumerate((bytes(5 * PAGE), b"noise" * 1000, b"")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / FILE).write_bytes(content)
        assert saved(folder / FILE, folder) == (0, [], [])


def test_a_file_of_version_1_is_saved_too(tmp_path: Path) -> None:
    """Its events have no checksum; what can be read of it is believed."""
    path = tmp_path / FILE
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in STEPS[0]:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO waiting VALUES (1, 'main', 'score', NULL, 1, 0, NULL, 0, 0, 0, NULL, '', 0, 9, '[]', x'7b7d')"
        )
    assert saved(path, tmp_path) == (1, [1], [])


# --- the write-ahead log ---


def crashed(folder: Path, transactions: int) -> Path:
    """Return the file of a spool that was killed after so many transactions; its log is not in it yet."""
    with spool_file(folder / "alive") as file:
        for number in range(1, transactions + 1):
            with file.transaction():
                file.put([spooled(number)])
        for path in (folder / "alive" / FILE, log_of(folder / "alive" / FILE)):
            shutil.copy(path, folder / path.name)
    return folder / FILE


def test_every_page_of_a_transaction_counts(tmp_path: Path) -> None:
    """All pages of a log that a crash left whole are committed, and SQLite reads as many."""
    path = crashed(tmp_path, 3)
    frames = committed_frames(path)
    assert frames >= 3
    with spool_file(tmp_path) as file:
        assert file.frames_read == frames
        assert file.totals().events == 3


def test_pages_without_a_commit_do_not_count(tmp_path: Path) -> None:
    """A write that a crash cut off was not acknowledged."""
    path = crashed(tmp_path, 3)
    frames = committed_frames(path)
    with log_of(path).open("r+b") as log:
        log.truncate(log.seek(0, 2) - 100)
    assert committed_frames(path) < frames


def test_pages_of_an_earlier_round_do_not_count(tmp_path: Path) -> None:
    """SQLite begins the log anew without shortening it; what it left behind has another salt."""
    path = crashed(tmp_path, 3)
    data = bytearray(log_of(path).read_bytes())
    data[16:20] = bytes(byte ^ 1 for byte in data[16:20])
    log_of(path).write_bytes(data)
    assert committed_frames(path) == 0


def test_a_log_with_an_unreadable_head_counts_in_full(tmp_path: Path) -> None:
    """Filled with zeros, nobody can say what was in it: all of its pages may have been committed."""
    path = crashed(tmp_path, 3)
    size = log_of(path).stat().st_size
    log_of(path).write_bytes(bytes(size))
    assert committed_frames(path) == (size - 32) // 4120


def test_no_log_has_no_pages(tmp_path: Path) -> None:
    """None, an empty one, and one with half a head."""
    path = tmp_path / FILE
    assert committed_frames(path) == 0
    for head in (b"", b"x" * 31):
        log_of(path).write_bytes(head)
        assert committed_frames(path) == 0
