"""The spool's directory: who owns it, and what happens to a file in it that cannot be used.

One sidecar owns a directory, by a lock that ends with its process; the command line needs no lock, SQLite has
its own. A file that is damaged, foreign or too new is renamed, with the reason and the time in its new name. What
can be read of a damaged one moves into a fresh file. None of it keeps a sidecar from starting.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sidecar.spool.damage import committed_frames, log_of, salvage
from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Quota
from sidecar.spool.schema import VERSION, Unusable, is_damage

FILE = "spool.db"
LOCK = "lock"
KEPT_ASIDE = 8
"""Files set aside that are kept; of more the oldest go."""

TIDY_PAGES = 1000
"""Given back to the disk at once; more would keep events waiting."""

Work = Callable[[SpoolFile], Any]


class Trouble(Exception):
    """The spool cannot be used now; the reason is in words."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that could not be used, and what was saved of it."""

    name: str
    """Its new name."""
    reason: str
    saved: int
    """Events and dead letters that are in the fresh file now."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """A file of an older version was brought to this one."""

    before: int
    after: int


Found = SetAside | Migrated


class SpoolDir:
    """An owned directory with an open spool in it, or the attempt to have one."""

    def __init__(self, path: Path, limits: Quota) -> None:
        """Nothing is touched before `open`."""
        self.path = path
        self._limits = limits
        self._lock: IO[str] | None = None
        self._file: SpoolFile | None = None
        self._inode: tuple[int, int] | None = None
        self._found: list[Found] = []

    def found(self) -> list[Found]:
        """Return what was found since the last call."""
        found, self._found = self._found, []
        return found

    def open(self, now: float) -> SpoolFile:
        """Own the directory and open its spool, unless that is done.

        `now` goes into the names of files that are set aside.

        Raises:
            Trouble: that is not possible now.

        """
        if self._file is not None:
            return self._file
        try:
            _make(self.path)
            self._own()
            self._file = self._open(now)
            self._inode = _inode(self.path / FILE)
        except (OSError, sqlite3.Error, Unusable) as error:  # Unusable: a fresh file; the disk is to blame
            self.close()
            raise Trouble(in_words(error, self.path)) from None
        return self._file

    def commit(self, works: Sequence[Work], now: float) -> list[Any]:
        """Do all of it in one transaction; return what each returned, once it is durable.

        Where the file turns out to be damaged, it is set aside, and all is done once more in the fresh one.

        Raises:
            Trouble: nothing of it was done, or for all that can be known.

        """
        for last in (False, True):
            file = self.open(now)
            try:
                return self._commit(file, works)
            except sqlite3.Error as error:
                self._close_file()
                if last or not is_damage(error):
                    raise Trouble(in_words(error, self.path)) from None
                self._mend(Unusable("damaged", str(error)), now)
        raise AssertionError("the second time either returns or raises")

    def _mend(self, why: Unusable, now: float) -> None:
        try:
            self._file = self._replace(why, now)
            self._inode = _inode(self.path / FILE)
        except (OSError, sqlite3.Error, Unusable) as error:
            self.close()
            raise Trouble(in_words(error, self.path)) from None

    def _commit(self, file: SpoolFile, works: Sequence[Work]) -> list[Any]:
        if self._inode != _inode(self.path / FILE):
            self.close()
            raise Trouble(f"{self.path / FILE} was removed or replaced under the running sidecar")
        with file.transaction():
            return [work(file) for work in works]

    def tidy(self, pages: int = TIDY_PAGES) -> None:
        """Give room that is not used any more back to the disk; whatever goes wrong shows in the next commit."""
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.give_back(pages)

    def close(self) -> None:
        """Close the file, and let another sidecar own the directory."""
        self._close_file()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _own(self) -> None:
        if self._lock is not None:
            return
        lock = (self.path / LOCK).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read(20).strip() or "unknown"
            lock.close()
            raise OSError(f"another sidecar, process {owner}, uses it; give each a directory of its own") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _open(self, now: float) -> SpoolFile:
        path = self.path / FILE
        committed = committed_frames(path)
        try:
            file = SpoolFile(path, self._limits)
        except Unusable as error:
            return self._replace(error, now)
        if file.frames_read < committed:
            self._keep_log(committed - file.frames_read, now)
        if file.migrated_from is not None:
            self._found.append(Migrated(file.migrated_from, VERSION))
        return file

    def _keep_log(self, unreadable: int, now: float) -> None:
        """Keep a copy of a log that SQLite did not read to its end; the file itself is whole."""
        log = log_of(self.path / FILE)
        aside = self._name_for(log.name, "damaged", now)
        shutil.copyfile(log, aside)
        reason = (
            f"SQLite could not read {unreadable} pages at the end of the write-ahead log: the sidecar was killed while "
            "it wrote what was not acknowledged yet, or the disk damaged events"
        )
        self._found.append(SetAside(aside.name, reason, 0))
        self._forget_old()

    def _replace(self, why: Unusable, now: float) -> SpoolFile:
        """Set the file aside, and return a fresh one with what could be saved of it."""
        path = self.path / FILE
        aside = self._name_for(FILE, why.kind, now)
        # The log goes first: it must never be there beside a fresh file, which it does not belong to.
        _rename(log_of(path), log_of(aside))
        _rename(path, aside)
        path.with_name(f"{FILE}-shm").unlink(missing_ok=True)
        _sync(self.path)
        try:
            fresh = SpoolFile(path, self._limits)
            saved = salvage(aside, fresh) if why.kind == "damaged" else 0
        except sqlite3.Error:  # there is no room for it now: everything back to where it was, until there is
            _remove(path)
            _rename(aside, path)
            _rename(log_of(aside), log_of(path))
            raise
        self._found.append(SetAside(aside.name, why.reason, saved))
        self._forget_old()
        return fresh

    def _name_for(self, name: str, kind: str, now: float) -> Path:
        time = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H%M%SZ")
        names = (f"{name}.{kind}-{time}{more}" for more in ("", *(f".{number}" for number in range(2, 10_000))))
        return next(path for each in names if not (path := self.path / each).exists())

    def _forget_old(self) -> None:
        for old in files_set_aside(self.path)[:-KEPT_ASIDE]:
            _remove(old)


def files_set_aside(directory: Path) -> list[Path]:
    """Return the files that were set aside, the oldest first."""
    marks = ("damaged", "foreign", "newer")
    found = [path for mark in marks for path in directory.glob(f"{FILE}*.{mark}-*") if not path.name.endswith(_BESIDE)]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def in_words(error: Exception, path: Path) -> str:
    """Say why the spool at `path` cannot be used."""
    if isinstance(error, sqlite3.Error):
        return f"{path}: {error} ({getattr(error, 'sqlite_errorname', 'SQLite')})"
    return f"{path}: {error.strerror if isinstance(error, OSError) and error.strerror else error}"


_BESIDE = ("-wal", "-shm")


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _rename(path: Path, to: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.rename(to)


def _remove(path: Path) -> None:
    for beside in ("", *_BESIDE):
        path.with_name(path.name + beside).unlink(missing_ok=True)


def _make(directory: Path) -> None:
    """Make a directory where there is none, so that it is there after a power loss as well."""
    new = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in new:
        _sync(each.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
