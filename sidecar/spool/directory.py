"""The spool's directory: its lock, and the replacement of unusable files.

One sidecar owns a directory by a lock on the directory itself, which deleted files do not affect, and which ends with
the process. The command line relies on SQLite's locks. A damaged, foreign or newer file is renamed, with reason and
time in its new name. The readable events of a damaged file, and all of an older one, go into a new file. None of this
keeps a sidecar from starting.

The new file is filled under the name `BUILDING`, and renamed to `COMPLETE` once all of it is on disk. From then on it
counts: a sidecar that finds it after a kill puts it in the place of `FILE`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.spool.damage import committed_frames, salvage
from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Quota
from sidecar.spool.schema import SQLITE_ERRORS, VERSION, Unusable, in_words, is_trouble, log_of

FILE = "spool.db"
BUILDING, COMPLETE = "spool.db.building", "spool.db.complete"
OWNER = "lock"
"""Has the id of the process that owns the directory, for people."""
KEPT_ASIDE = 8
"""Files set aside that are kept; the oldest go if there are more, or if they are larger than a spool may be."""

TIDY_PAGES = 1000
"""Pages returned to the disk at once; more would delay events."""

Work = Callable[[SpoolFile], Any]


class Trouble(Exception):
    """The spool cannot be used now; the message says why."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that could not be used, and what was saved of it."""

    name: str
    """Its new name."""
    reason: str
    saved: int
    """Events and dead letters copied to the new file."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """A file of an older version was migrated."""

    before: int
    after: int


Found = SetAside | Migrated


class SpoolDir:
    """A directory with a spool, opened and locked on demand."""

    def __init__(self, path: Path, quota: Quota) -> None:
        """Touch nothing before `open`."""
        self.path = path
        self._quota = quota
        self._lock: int | None = None
        self._file: SpoolFile | None = None
        self._watched = (path / FILE, log_of(path / FILE), path / f"{FILE}-shm")
        self._names: tuple[object, ...] = ()
        """The inodes of `FILE`, its log, and the index of that, which has SQLite's locks, when it was opened."""
        self._last = 0
        """The highest number in the files before, of which events may still be in flight."""
        self._found: list[Found] = []

    def found(self) -> list[Found]:
        """Return the files set aside or migrated since the last call."""
        found, self._found = self._found, []
        return found

    def open(self, now: float) -> SpoolFile:
        """Lock the directory and open its spool, if not done yet.

        `now` is for the names of files set aside.

        Raises:
            Trouble: that is not possible now.

        """
        if self._file is not None:
            return self._file
        try:
            _make(self.path)
            self._own()
            self._set_others_aside(now)
            (self.path / OWNER).write_text(f"{os.getpid()}\n", encoding="ascii")
            self._finish(now)
            return self._use(self._open(now))
        except (OSError, *SQLITE_ERRORS, Unusable) as error:  # Unusable: even the new file, so the disk is to blame
            self.close()
            raise Trouble(in_words(error, self.path)) from None

    def commit(self, works: Sequence[Work], now: float, *, durable: bool = True) -> list[Any]:
        """Run all `works` in one transaction; return their results once they are durable.

        If the file turns out to be damaged, it is set aside, and all is repeated in the new one. `durable`: see
        `SpoolFile.transaction`.

        Raises:
            Trouble: nothing was done, as far as is known.

        """
        for last in (False, True):
            file = self.open(now)
            try:
                return self._commit(file, works, durable=durable)
            except SQLITE_ERRORS as error:
                self._close_file()
                if last or isinstance(error, sqlite3.IntegrityError) or not self._is_damage(error):
                    raise Trouble(in_words(error, self.path)) from None
                self._repair(Unusable("damaged", in_words(error, None)), now)
        raise AssertionError("the second time either returns or raises")

    def _commit(self, file: SpoolFile, works: Sequence[Work], *, durable: bool) -> list[Any]:
        if self._names != self._names_now():
            self._save_from_removed(file)
            self._close_file()
            file = self._use(SpoolFile(self.path / FILE, self._quota))
        with file.transaction(durable=durable):
            results = [work(file) for work in works]
        if self._names != self._names_now():  # removed meanwhile; the next transaction opens the file again
            self._save_from_removed(file)
        return results

    def _save_from_removed(self, file: SpoolFile) -> None:
        """Copy a log that was removed, and is still open here, into the file.

        Raises:
            Trouble: the file itself was removed; what is written to it now would be lost.

        """
        if self._names[0] != _inode(self.path / FILE):
            self.close()
            raise Trouble(f"{self.path / FILE} was removed or replaced under the running sidecar")
        file.copy_log()

    def _use(self, file: SpoolFile) -> SpoolFile:
        self._file = file
        file.number_after(self._last)
        self._names = self._names_now()
        return file

    def _repair(self, why: Unusable, now: float) -> None:
        try:
            self._use(self._replace(why, now))
        except (OSError, *SQLITE_ERRORS, Unusable) as error:
            self.close()
            raise Trouble(in_words(error, self.path)) from None

    def tidy(self) -> None:
        """Return free pages to the disk; errors show in the next commit."""
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.give_back(TIDY_PAGES)

    def close(self) -> None:
        """Close the file and unlock the directory."""
        self._close_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._last = file.last
            file.close()

    def _names_now(self) -> tuple[object, ...]:
        return tuple([_inode(each) for each in self._watched])

    def _own(self) -> None:
        if self._lock is not None:
            return
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = _first_line(self.path / OWNER) or "unknown"
            raise OSError(f"another sidecar, process {process}, uses it; give each a directory of its own") from None

    def _set_others_aside(self, now: float) -> None:
        """Rename anything but a regular file that has the name of a spool file: opening a pipe would block."""
        for name in (OWNER, *(f"{file}{end}" for file in (FILE, BUILDING, COMPLETE) for end in ("", *_BESIDE))):
            path = self.path / name
            if _is_something_else(path):
                path.rename(self._name_for(name, "damaged", now))

    def _open(self, now: float) -> SpoolFile:
        path = self.path / FILE
        fresh = not path.exists()
        committed = committed_frames(path)
        try:
            file = self._open_sound(path, committed)
        except Unusable as error:
            return self._replace(error, now)
        except SQLITE_ERRORS as error:
            if not self._is_damage(error):
                raise
            return self._replace(Unusable("damaged", in_words(error, None)), now)
        if file.frames_read < committed:
            self._keep_log(committed - file.frames_read, now)
        if fresh:
            _sync(self.path)
        return file

    def _open_sound(self, path: Path, committed: int) -> SpoolFile:
        """Open a file and check it with SQLite; `committed`: pages in its log."""
        if committed and not _size_of(path):
            raise Unusable("damaged", "it is empty, and its log is not")
        file = SpoolFile(path, self._quota)
        with contextlib.ExitStack() as unless_sound:
            unless_sound.callback(file.close)
            if problems := file.problems():
                raise Unusable("damaged", problems[0])
            unless_sound.pop_all()
        return file

    def _is_damage(self, error: Exception) -> bool:
        """Whether the file is damaged: the error is not temporary, and the file can be opened and read to its end."""
        if is_trouble(error):
            return False
        try:
            with (self.path / FILE).open("r+b") as file:
                while file.read(1024 * 1024):
                    pass
        except OSError:
            return False
        return True

    def _keep_log(self, unreadable: int, now: float) -> None:
        """Keep a copy of a log that SQLite did not read to its end; the file itself is sound."""
        log = log_of(self.path / FILE)
        aside = self._name_for(log.name, "damaged", now)
        shutil.copyfile(log, aside)
        reason = (
            f"SQLite could not read {unreadable} pages at the end of the write-ahead log: the sidecar was killed while "
            "it wrote what was not acknowledged yet, or the disk damaged events"
        )
        self._found.append(SetAside(aside.name, reason, 0))
        self._forget_old()

    # --- replacing an unusable file ---

    def _replace(self, why: Unusable, now: float) -> SpoolFile:
        """Replace an unusable file by a new one with everything that can be saved."""
        path, building = self.path / FILE, self.path / BUILDING
        _remove(building)
        self._forget_old(_size_of(path))
        try:
            with contextlib.closing(SpoolFile(building, self._quota, mode="build")) as fresh:
                saved = salvage(path, fresh) if why.kind in ("damaged", "older") else 0
            _sync(building)
        except BaseException:  # such as a full disk: leave everything as it is, and try again later
            _remove(building)
            raise
        building.rename(self.path / COMPLETE)
        _sync(self.path)
        self._finish(now, why, saved)
        return SpoolFile(path, self._quota)

    def _finish(self, now: float, why: Unusable | None = None, saved: int | None = None) -> None:
        """Put a complete new file in its place, and delete an incomplete one."""
        path, complete = self.path / FILE, self.path / COMPLETE
        _remove(self.path / BUILDING)
        if not complete.exists():
            return
        if saved is None:
            with contextlib.closing(SpoolFile(complete, self._quota, mode="read")) as file:
                totals = file.totals()
                saved = totals.events + totals.dead
        if why is not None and why.kind == "older":
            self._found.append(Migrated(why.version, VERSION))
        else:
            kind = why.kind if why is not None else "damaged"
            aside = self._name_for(FILE, kind, now)
            # The log goes first: it must never be beside a file that it does not belong to.
            _rename(log_of(path), log_of(aside))
            _rename(path, aside)
            reason = why.reason if why is not None else "it was being replaced when the sidecar was killed"
            self._found.append(SetAside(aside.name, reason, saved))
        for beside in ("-wal", "-shm", "-journal"):
            _beside(path, beside).unlink(missing_ok=True)
        complete.rename(path)
        _sync(self.path)
        self._forget_old()

    def _name_for(self, name: str, kind: str, now: float) -> Path:
        time = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H%M%SZ")
        names = (f"{name}.{kind}-{time}{more}" for more in ("", *(f".{number}" for number in range(2, 10_000))))
        return next(path for each in names if not (path := self.path / each).exists())

    def _forget_old(self, more: int = 0) -> None:
        """Remove the oldest files set aside; another one of `more` bytes is about to be."""
        newest = files_set_aside(self.path)[::-1]
        for place, old in enumerate(newest):
            size = sum(_size_of(_beside(old, each)) for each in ("", *_BESIDE))
            more += size
            if place >= KEPT_ASIDE or (more > self._quota.size and (place or more > size)):
                _remove(old)


def files_set_aside(directory: Path) -> list[Path]:
    """Return the files set aside, the oldest first."""
    marks = ("damaged", "foreign", "newer")
    found = [path for mark in marks for path in directory.glob(f"{FILE}*.{mark}-*") if not path.name.endswith(_BESIDE)]
    return sorted(found, key=lambda path: path.stat().st_mtime)


_BESIDE = ("-wal", "-shm", "-journal")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _first_line(path: Path) -> str:
    if _is_something_else(path):
        return ""
    try:
        return path.read_text(encoding="ascii", errors="replace")[:20].strip()
    except OSError:
        return ""


def _is_something_else(path: Path) -> bool:
    """Whether the path exists but is not a regular file."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _rename(path: Path, to: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.rename(to)


def _remove(path: Path) -> None:
    for beside in ("", *_BESIDE):
        _beside(path, beside).unlink(missing_ok=True)


def _make(directory: Path) -> None:
    """Create a missing directory, so that it survives a power loss."""
    new = [each for each in (directory, *directory.parents) if not each.exists()]
    if new:  # if the path is not a directory, opening it says so
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in new:
        _sync(each.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
