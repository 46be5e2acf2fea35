"""Promises of `directory`: one owner, and unusable files are set aside."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.spool.directory import (
    BUILDING,
    COMPLETE,
    FILE,
    KEPT_ASIDE,
    OWNER,
    Migrated,
    SetAside,
    SpoolDir,
    Trouble,
    files_set_aside,
)
from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Quota, Spooled
from sidecar.spool.schema import PAGE, VERSION, log_of
from tests.spool.spools import NOON, SMALL, arrivals, fill, held, needs_root, old_file, small_disk, spooled

STAMP = "2027-01-15T080000Z"
"""NOON, as it stands in names."""

LOOK_INTO = """
import sys
from pathlib import Path
from sidecar.spool.directory import SpoolDir
from sidecar.spool.record import Quota, Spooled
SpoolDir(Path(sys.argv[1]), Quota()).open(0)
"""


@contextlib.contextmanager
def owned(folder: Path, limits: Quota | None = None) -> Iterator[SpoolDir]:
    """Return a directory that is not open yet."""
    directory = SpoolDir(folder, limits or Quota())
    try:
        yield directory
    finally:
        directory.close()


def put_event(directory: SpoolDir, event: Spooled) -> bool:
    """Store one event; False if the spool is full."""
    (stored,) = directory.commit([lambda file: file.put([event])], NOON)
    return bool(stored)


def put(directory: SpoolDir, *numbers: int) -> None:
    """Store events, each in a transaction of its own."""
    for number in numbers:
        assert put_event(directory, spooled(number))


def crashed(folder: Path, *numbers: int) -> Path:
    """Leave a directory as after a kill; return the file."""
    alive = folder.with_name(f"{folder.name}-alive")
    with owned(alive) as directory:
        put(directory, *numbers)
        shutil.copytree(alive, folder)
    shutil.rmtree(alive)
    return folder / FILE


def flip(path: Path, place: int, bit: int = 4) -> None:
    """Flip a bit."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


# --- an ordinary life ---


def test_a_new_directory_is_private(tmp_path: Path) -> None:
    """Its parents are created too; other users cannot read it."""
    with owned(tmp_path / "a" / "spool") as directory:
        assert held(directory) == []
    assert (tmp_path / "a" / "spool").stat().st_mode & 0o777 == 0o700


def test_a_new_directory_survives_a_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry of each new directory is synced too."""
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino))
    with owned(tmp_path / "state" / "spool") as directory:
        directory.open(NOON)
    assert {tmp_path.stat().st_ino, (tmp_path / "state").stat().st_ino} <= synced


def test_committed_events_are_there_at_the_next_start(tmp_path: Path) -> None:
    """After an orderly end and after a crash; neither is reported."""
    with owned(tmp_path) as directory:
        put(directory, 1, 2)
    with owned(tmp_path) as directory:
        assert (held(directory), directory.found()) == ([1, 2], [])
    crashed(tmp_path / "crashed", 3, 4)
    with owned(tmp_path / "crashed") as directory:
        assert (held(directory), directory.found()) == ([3, 4], [])


def test_a_commit_is_one_transaction(tmp_path: Path) -> None:
    """Each result is returned; if one fails, none was done."""

    def fail(_: SpoolFile) -> None:
        raise ZeroDivisionError

    with owned(tmp_path) as directory:
        put_one = [lambda file: file.put([spooled(1)]), lambda file: file.totals().events]
        assert directory.commit(put_one, NOON) == [True, 1]
        with pytest.raises(ZeroDivisionError):
            directory.commit([lambda file: file.put([spooled(2)]), fail], NOON)
        assert held(directory) == [1]


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_file_is_migrated_and_reported(tmp_path: Path, version: int) -> None:
    """Operators must know that an older sidecar can no longer read it."""
    old_file(tmp_path, version)
    with owned(tmp_path) as directory:
        assert held(directory) == [1]
        assert directory.found() == [Migrated(version, VERSION)]
        assert directory.found() == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(FILE)] == [FILE]


# --- one owner ---


def test_two_sidecars_do_not_share_a_directory(tmp_path: Path) -> None:
    """The second is told the process id of the first, and can use the directory after it ended."""
    with owned(tmp_path) as first, owned(tmp_path) as second:
        put(first, 1)
        with pytest.raises(Trouble, match=f"another sidecar, process {os.getpid()}, uses it"):
            second.open(NOON)
        first.close()
        assert held(second) == [1]


def test_a_killed_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    """Its lock file is not a lock."""
    subprocess.run([sys.executable, "-c", LOOK_INTO, str(tmp_path)], check=True)
    with owned(tmp_path) as directory:
        assert held(directory) == []


def test_deleting_the_lock_file_does_not_release_the_lock(tmp_path: Path) -> None:
    """The lock is on the directory itself."""
    with owned(tmp_path) as first, owned(tmp_path) as second:
        put(first, 1)
        for path in tmp_path.iterdir():
            path.unlink()
        with pytest.raises(Trouble, match="another sidecar, process unknown, uses it"):
            second.open(NOON)


# --- a file that cannot be used ---


def test_another_programs_file_is_set_aside_unharmed(tmp_path: Path) -> None:
    """It is renamed and unchanged, and a new file is created."""
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute("CREATE TABLE notes (text)")
    before = (tmp_path / FILE).read_bytes()
    with owned(tmp_path) as directory:
        assert held(directory) == []
        name = f"{FILE}.foreign-{STAMP}"
        assert directory.found() == [SetAside(name, "it is a database of another program", 0)]
    assert (tmp_path / name).read_bytes() == before


def test_a_newer_file_is_set_aside_for_the_newer_sidecar(tmp_path: Path) -> None:
    """After a downgrade nothing is lost: file and log are kept under another name."""
    path = crashed(tmp_path / "spool", 1)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.execute("ALTER TABLE waiting ADD COLUMN newer TEXT")
    with owned(tmp_path / "spool") as directory:
        assert held(directory) == []
        (found,) = directory.found()
    assert isinstance(found, SetAside)
    assert found.name == f"{FILE}.newer-{STAMP}"
    aside = tmp_path / "spool" / found.name
    with contextlib.closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT arrival FROM waiting").fetchall() == [(1,)]


SPOILT: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("filled with zeros", lambda data: bytes(len(data))),
    ("filled with noise", lambda data: b"noise" * (len(data) // 5)),
    ("cut in the middle", lambda data: data[: len(data) // 2]),
    ("cut to a few bytes", lambda data: data[:50]),
    ("its head flipped", lambda data: bytes([data[0] ^ 0x10]) + data[1:]),
    ("its first page gone", lambda data: bytes(4096) + data[4096:]),
    ("its pages 2 to 4 gone", lambda data: data[:4096] + bytes(3 * 4096) + data[4 * 4096 :]),
]


@pytest.mark.parametrize("spoil", [spoil for _, spoil in SPOILT], ids=[name for name, _ in SPOILT])
def test_a_damaged_file_is_set_aside_and_the_sidecar_starts(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """For any damage: the file is renamed, the new one works, and its events are sound."""
    path = fill(tmp_path, *(spooled(number, body=b"%03d" % number * 300) for number in range(1, 101)))
    spoilt = spoil(path.read_bytes())
    path.write_bytes(spoilt)
    with owned(tmp_path) as directory:
        saved = held(directory)
        (found,) = directory.found()
        assert isinstance(found, SetAside)
        assert (found.name, found.saved) == (f"{FILE}.damaged-{STAMP}", len(saved))
        put(directory, 1000)
        assert held(directory) == [*saved, 1000]
    assert (tmp_path / found.name).read_bytes() == spoilt


@pytest.mark.parametrize("start", range(0, PAGE, 256))
def test_a_flipped_bit_in_the_first_page_costs_no_event(tmp_path: Path, start: int) -> None:
    """In header or schema, whether SQLite notices it or not."""
    path = fill(tmp_path, *(spooled(number, "a", body=b"%03d" % number * 300) for number in range(1, 11)))
    whole = path.read_bytes()
    for place in range(start, start + 256, 19):
        path.write_bytes(whole)
        flip(path, place, place % 8)
        with owned(tmp_path) as directory:
            (found,) = directory.commit(
                [lambda file: [event.arrival for event, sound in file.waiting() if sound]], NOON
            )
            assert found == list(range(1, 11)), place
            (heads,) = directory.commit([lambda file: file.hand_out("main", NOON, events=99, size=10**6)], NOON)
            assert arrivals(heads.events) == [1], place
            put(directory, 1000)
        for old in files_set_aside(tmp_path):
            old.unlink()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "directory"])
@pytest.mark.parametrize(
    "beside",
    [FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal", OWNER, BUILDING, f"{BUILDING}-wal", COMPLETE],
)
def test_a_pipe_in_the_place_of_a_file_is_set_aside(tmp_path: Path, beside: str, make: Callable[[Path], None]) -> None:
    """Opening it would block; so is a directory in place of a file."""
    make(tmp_path / beside)
    with owned(tmp_path) as directory:
        put(directory, 1)
        assert held(directory) == [1]
    assert not (tmp_path / f"{beside}.damaged-{STAMP}").is_file()
    assert (tmp_path / f"{beside}.damaged-{STAMP}").exists()


def test_a_pipe_in_place_of_the_owners_file_does_not_block(tmp_path: Path) -> None:
    """A second sidecar is still refused."""
    with owned(tmp_path) as directory:
        put(directory, 1)
        (tmp_path / OWNER).unlink()
        os.mkfifo(tmp_path / OWNER)
        with pytest.raises(Trouble, match="another sidecar, process unknown, uses it"):
            SpoolDir(tmp_path, Quota()).open(0)


# --- saving what can be read ---


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return the file of a spool with the events 1 to 10 and a damaged first page."""
    path = fill(tmp_path, *(spooled(number) for number in range(1, 11)))
    path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
    return path


def test_an_incomplete_fresh_file_is_discarded(damaged: Path) -> None:
    """A sidecar was killed while saving events: the next one starts over."""
    (damaged.parent / BUILDING).write_bytes(b"half of it")
    with owned(damaged.parent) as directory:
        assert held(directory) == list(range(1, 11))
    assert not (damaged.parent / BUILDING).exists()


@pytest.mark.parametrize("file_is_aside", [False, True])
@pytest.mark.parametrize("log_is_aside", [False, True])
def test_a_complete_fresh_file_is_renamed_at_the_next_start(
    damaged: Path, *, log_is_aside: bool, file_is_aside: bool
) -> None:
    """A sidecar was killed before it was renamed: the next one does that."""
    folder = damaged.parent
    fill(folder / "fresh", *(spooled(number) for number in range(1, 11))).rename(folder / COMPLETE)
    log_of(damaged).write_bytes(b"what was in the log of the damaged file")
    if log_is_aside:
        log_of(damaged).rename(folder / f"{FILE}.damaged-2020-wal")
    if file_is_aside:
        damaged.rename(folder / f"{FILE}.damaged-2020")
    with owned(folder) as directory:
        assert held(directory) == list(range(1, 11))
        (found,) = directory.found()
        assert isinstance(found, SetAside)
        assert found.saved == 10
    assert not (folder / COMPLETE).exists()


# --- what others do to its files ---


def test_no_event_is_lost_when_the_log_is_removed(tmp_path: Path) -> None:
    """It is still open, and its contents are written into the file before the next event."""
    with owned(tmp_path / "spool") as directory:
        put(directory, 1, 2)
        log_of(tmp_path / "spool" / FILE).unlink()
        put(directory, 3)
        shutil.copytree(tmp_path / "spool", tmp_path / "killed")
    with owned(tmp_path / "killed") as directory:
        assert held(directory) == [1, 2, 3]
        assert directory.found() == []


def test_no_event_is_lost_when_the_log_is_removed_during_a_transaction(tmp_path: Path) -> None:
    """The events are in the file before they count as stored."""
    log = log_of(tmp_path / "spool" / FILE)
    with owned(tmp_path / "spool") as directory:
        put(directory, 1)
        directory.commit([lambda file: file.put([spooled(2)]), lambda _: log.unlink()], NOON)
        shutil.copytree(tmp_path / "spool", tmp_path / "killed")
        put(directory, 3)
        assert held(directory) == [1, 2, 3]
    with owned(tmp_path / "killed") as directory:
        assert held(directory) == [1, 2]


@pytest.mark.parametrize("name", ["", "-wal", "-shm"])
def test_what_is_removed_during_a_transaction_is_noticed_again(tmp_path: Path, name: str) -> None:
    """Not only by that transaction: the file is opened again, so that later events are in files that have names."""
    with owned(tmp_path / "spool") as directory:
        put(directory, 1)
        gone = tmp_path / "spool" / f"{FILE}{name}"
        with contextlib.nullcontext() if name else pytest.raises(Trouble, match="was removed or replaced"):
            directory.commit([lambda file: file.put([spooled(2)]), lambda _: gone.rename(tmp_path / "gone")], NOON)
        put(directory, 3)
        assert gone.exists()
        shutil.copytree(tmp_path / "spool", tmp_path / "killed")
    with owned(tmp_path / "killed") as directory:
        assert 3 in held(directory)


@pytest.mark.parametrize("version", [1, 2])
def test_a_new_event_does_not_get_the_number_of_a_dead_letter(tmp_path: Path, version: int) -> None:
    """Else it could not become one: of a saved file only the waiting events set the next number."""
    old_file(tmp_path, version)
    with owned(tmp_path) as directory:
        put(directory, 0)
        assert held(directory) == [1, 3]


def test_a_file_that_another_process_locks_is_not_called_broken(tmp_path: Path) -> None:
    """It can be used again when the lock is released."""
    with owned(tmp_path) as directory:
        put(directory, 1)
        with contextlib.closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Trouble, match="another process has locked the file"):
                put(directory, 2)
        put(directory, 3)
        assert held(directory) == [1, 3]


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_anywhere_is_no_reason_not_to_start(tmp_path: Path, seed: int) -> None:
    """No event is changed, and new ones can be stored."""
    events = [spooled(number, "a", body=b"%03d" % number * 300) for number in range(1, 61)]
    path = fill(tmp_path, *events)
    flip(path, seed * 7919 * 13 % path.stat().st_size)
    with owned(tmp_path) as directory:
        (found,) = directory.commit([lambda file: list(file.waiting())], NOON)
        assert {event.body for event, sound in found if sound} <= {event.body for event in events}
        put(directory, 1000)
        assert 1000 in held(directory)


def test_damage_at_run_time_costs_no_event(tmp_path: Path) -> None:
    """The transaction is repeated in a new file with everything that could be saved."""

    class Damaged(sqlite3.DatabaseError):
        sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    times: list[int] = []

    def find_it(_: SpoolFile) -> None:
        times.append(1)
        if len(times) == 1:
            raise Damaged("database disk image is malformed")

    with owned(tmp_path) as directory:
        put(directory, 1, 2)
        directory.commit([lambda file: file.put([spooled(3)]), find_it], NOON)
        assert held(directory) == [1, 2, 3]
        assert directory.found() == [SetAside(f"{FILE}.damaged-{STAMP}", "database disk image is malformed", 2)]


@pytest.mark.parametrize("spoil", [lambda log: bytes(len(log)), lambda log: log[:32] + bytes(len(log) - 32)])
def test_a_zeroed_log_is_reported(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """With its header or without, although SQLite reports nothing."""
    path = crashed(tmp_path / "spool", 1, 2, 3)
    log_of(path).write_bytes(spoil(log_of(path).read_bytes()))
    with owned(tmp_path / "spool") as directory:
        put(directory, 9)
        assert held(directory) == [9]
        (found,) = directory.found()
    assert isinstance(found, SetAside)
    assert found.name == f"{FILE}-wal.damaged-{STAMP}"


def test_a_flipped_bit_in_the_log_is_reported(tmp_path: Path) -> None:
    """Later transactions were acknowledged and are lost: that is reported, and the log is kept."""
    path = crashed(tmp_path / "spool", *range(1, 11))
    log = log_of(path).read_bytes()
    flip(log_of(path), log.index(b'"id":"5"'))
    with owned(tmp_path / "spool") as directory:
        assert held(directory) == [1, 2, 3, 4]
        (found,) = directory.found()
    assert isinstance(found, SetAside)
    assert found.name == f"{FILE}-wal.damaged-{STAMP}"
    assert "could not read" in found.reason
    assert len((tmp_path / "spool" / found.name).read_bytes()) == len(log)


def test_commits_before_a_cut_in_the_log_are_kept(tmp_path: Path) -> None:
    """Everything committed before the cut is there."""
    path = crashed(tmp_path / "spool", *range(1, 11))
    log = log_of(path).read_bytes()
    log_of(path).write_bytes(log[: log.index(b'"id":"5"')])
    with owned(tmp_path / "spool") as directory:
        assert held(directory) == [1, 2, 3, 4]


def test_files_set_aside_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Only the newest few are kept."""
    for second in range(KEPT_ASIDE + 3):
        (tmp_path / FILE).write_bytes(b"noise" * 100)
        with owned(tmp_path) as directory:
            directory.open(NOON + second)
    assert len(files_set_aside(tmp_path)) == KEPT_ASIDE
    assert not (tmp_path / f"{FILE}.damaged-{STAMP}").exists()


def test_files_set_aside_take_no_more_than_a_spool(tmp_path: Path) -> None:
    """Of large ones, fewer are kept; the newest always."""
    for second in range(3):
        (tmp_path / FILE).write_bytes(b"noise" * 100_000)
        with owned(tmp_path, SMALL) as directory:
            directory.open(NOON + second)
    assert len(files_set_aside(tmp_path)) == 2
    assert not (tmp_path / f"{FILE}.damaged-{STAMP}").exists()


def test_two_files_set_aside_in_one_second_are_both_kept(tmp_path: Path) -> None:
    """The second has a number in its name."""
    for _ in range(2):
        (tmp_path / FILE).write_bytes(b"noise" * 100)
        with owned(tmp_path) as directory:
            directory.open(NOON)
    assert {path.name for path in files_set_aside(tmp_path)} == {
        f"{FILE}.damaged-{STAMP}",
        f"{FILE}.damaged-{STAMP}.2",
    }


# --- a disk that does not do what it should ---


def test_a_removed_file_is_noticed(tmp_path: Path) -> None:
    """Writes to it would be lost, so they are refused; the contents of its log are saved."""
    with owned(tmp_path) as directory:
        put(directory, 1)
        (tmp_path / FILE).rename(tmp_path / "elsewhere")
        with pytest.raises(Trouble, match=r"spool\.db was removed or replaced"):
            put(directory, 2)
        put(directory, 3)
        assert held(directory) == [1, 3]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a disk of one megabyte."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@needs_root
def test_a_full_disk_refuses_new_events_and_keeps_stored_ones(disk: Path) -> None:
    """Acknowledged events are there and can be deleted; once there is room, new ones are taken."""
    taken: list[int] = []
    with owned(disk / "spool", SMALL) as directory:
        directory.open(NOON)
        (disk / "ballast").write_bytes(bytes(300_000))
        while put_event(directory, spooled(len(taken) + 1, body=b"x" * 5000)):
            taken.append(len(taken) + 1)
        assert held(directory) == taken
        assert len(taken) > 50
        directory.commit([lambda file: file.delivered(taken[:20])], NOON)
        assert put_event(directory, spooled(4000))
        assert not put_event(directory, spooled(5000, body=b"x" * 200_000))
        (disk / "ballast").unlink()
        assert put_event(directory, spooled(5000, body=b"x" * 200_000))
        assert held(directory) == [*taken[20:], 4000, 5000]
        assert directory.found() == []


@needs_root
def test_a_read_only_disk_is_reported_and_used_again_when_writable(disk: Path) -> None:
    """Events are refused meanwhile, and taken again when it is writable."""
    with owned(disk / "spool", SMALL) as directory:
        put(directory, 1)
        directory.close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(Trouble, match=r"[Rr]ead-only"):
            put(directory, 2)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        put(directory, 3)
        assert held(directory) == [1, 3]


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    """The disk has failed, not what is on it; nothing is set aside."""
    (tmp_path / FILE).symlink_to("/proc/self/mem")  # an input/output error at its start
    with owned(tmp_path) as directory:
        assert not directory._is_damage(sqlite3.DatabaseError("the disk image is malformed"))


def test_a_path_that_is_not_a_directory_is_reported(tmp_path: Path) -> None:
    """With the path."""
    (tmp_path / "file").write_text("")
    with owned(tmp_path / "file") as directory, pytest.raises(Trouble, match=r"/file: Not a directory"):
        directory.open(NOON)


@needs_root
def test_a_damaged_file_waits_for_room_to_save_it(tmp_path: Path, disk: Path) -> None:
    """Without room for a new file, the damaged one stays until there is."""
    sound = fill(tmp_path, *(spooled(number, body=b"%03d" % number * 900) for number in range(1, 101)))
    data, path = bytearray(sound.read_bytes()), disk / "spool" / FILE
    place = data.index(b"050" * 900) // 4096 * 4096
    data[place : place + 4096] = bytes(4096)
    path.parent.mkdir()
    path.write_bytes(data)
    (disk / "ballast").write_bytes(bytes(500_000))
    with owned(disk / "spool") as directory:
        with pytest.raises(Trouble, match="disk is full"):
            directory.open(NOON)
        assert path.read_bytes() == data
        assert directory.found() == []
        (disk / "ballast").unlink()
        saved = held(directory)
        assert 90 < len(saved) < 100
