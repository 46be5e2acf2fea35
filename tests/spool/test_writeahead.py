"""Promises of `writeahead`: what was committed is counted, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from sidecar.spool.directory import FILE
from sidecar.spool.writeahead import committed_frames, log_of
from tests.spool.spools import spool_file, spooled


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
