"""What a process did to the files below a folder, from its system calls, recorded by strace."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.power.disk import (
    FOLDER,
    Create,
    Mark,
    Op,
    Remove,
    Rename,
    Resize,
    Sync,
    SyncNames,
    Write,
    apply,
    rename,
)

CALLS = (
    "openat,open,creat,close,dup,dup2,dup3,fcntl,lseek,read,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,"
    "fallocate,fsync,fdatasync,sync_file_range,msync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,"
    "symlinkat,mkdir,mkdirat,rmdir,copy_file_range,sendfile"
)
_BEGINNING = re.compile(r"\d+ +(\w+)\(")
_RESULT = re.compile(r"\) += (-?\d+|\?)[^)]*(?:\([^)]*\))?$")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>")
_NOT_ON_DISK = "-shm"
"""The index of SQLite's log, which is shared memory in a file; SQLite makes a new one after a crash."""


class NotHere(Exception):
    """Nothing can be traced on this machine; says why."""


@functools.cache
def why_not() -> str:
    """Return why nothing can be traced here; empty where it can."""
    if shutil.which("strace") is None:
        return "there is no strace; on Debian `apt-get install strace` has it"
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class _Open:
    """A file descriptor."""

    file: int
    name: str
    at: int = 0
    appends: bool = False


@dataclass
class Recorder:
    """Collects the operations of one process after the other on the files below a folder."""

    folder: Path
    ops: list[Op] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    """What each name leads to now."""
    contents: dict[int, bytearray] = field(default_factory=dict)
    """What each file holds now."""

    @property
    def marks(self) -> Path:
        """Return the file to which a process writes its marks: a line with a kind and the names of events."""
        return self.folder.with_name(f"{self.folder.name}.marks")

    def run(self, command: Sequence[str]) -> int:
        """Run a process to its end, and take what it did; return its exit status.

        Raises:
            NotHere: there is no strace, or it may not trace.

        """
        if why := why_not():
            raise NotHere(why)
        log = self.folder.with_name(f"{self.folder.name}.strace")
        strace = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-xx",
            "-s",
            "100000000",
            "-e",
            f"trace={CALLS}",
            "-e",
            "signal=none",
        ]
        status = subprocess.run([*strace, "-o", str(log), "--", *command], check=False).returncode
        process = _Process(self)
        for line in _whole_lines(log):
            process.take(line)
        if self._differing():
            process.take_what_the_end_cut_off()
        if differing := self._differing():
            raise AssertionError(f"the system calls recorded do not explain {', '.join(differing)}")
        return status

    def do(self, op: Op) -> None:
        """Take an operation of nobody's process: a disk that is damaged, a test that makes a file."""
        self.ops.append(op)
        if isinstance(op, Write | Resize):
            apply(self.contents.setdefault(op.file, bytearray()), op)
        elif isinstance(op, Create | Rename | Remove):
            rename(self.names, op)

    def create(self, name: str, file: int | None = None) -> int:
        """Take a new file, or directory, and return its number."""
        number = len(self.contents) if file is None else file
        if number != FOLDER:
            self.contents[number] = bytearray()
        self.do(Create(name, number))
        return number

    def forget(self) -> None:
        """Start over; what the folder holds now is not taken up yet."""
        self.ops, self.names, self.contents = [], {}, {}

    def take_up(self) -> None:
        """Take the files that are there already as synced."""
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if name.endswith(_NOT_ON_DISK) or name in self.names:
                continue
            if path.is_dir():
                self.create(name, FOLDER)
            else:
                file = self.create(name)
                self.do(Write(file, 0, path.read_bytes()))
                self.do(Sync(file))
        for folder in ["", *(name for name, file in self.names.items() if file == FOLDER)]:
            self.do(SyncNames(folder))
        self.do(Mark("begun", ()))

    def _differing(self) -> list[str]:
        """Return the names of files that the operations do not explain."""
        there = {
            str(path.relative_to(self.folder)): None if path.is_dir() else path.read_bytes()
            for path in self.folder.rglob("*")
            if not path.name.endswith(_NOT_ON_DISK)
        }
        known = {name: None if file == FOLDER else bytes(self.contents[file]) for name, file in self.names.items()}
        return sorted(name for name in there.keys() | known.keys() if there.get(name, b"?") != known.get(name, b"?"))


def _whole_lines(log: Path) -> Iterator[str]:
    """Yield each call in one line, where it ended; those that did not with "?" for their result."""
    begun: dict[str, str] = {}
    with log.open() as lines:
        for text in lines:
            line = text.rstrip("\n")
            if line.endswith(_UNFINISHED):
                begun[line.partition(" ")[0]] = line.removesuffix(_UNFINISHED)
            elif resumed := _RESUMED.match(line):
                yield begun.pop(resumed[1]) + line[resumed.end() :]
            else:
                yield line
    yield from (f"{line}) = ?" for line in begun.values())


class _Process:
    """Turns the calls of one process, all its threads sharing its descriptors, into operations."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._open: dict[int, _Open] = {}
        self._marks: set[int] = set()
        self._cut_off: list[str] = []
        self._calls: dict[str, Callable[[list[str], int], None]] = {
            "openat": lambda given, result: self._opened(given[1:], result),
            "open": self._opened,
            "close": lambda given, _: self._closed(int(given[0])),
            "fcntl": self._fcntl,
            "lseek": self._moved,
            "read": self._read,
            "write": self._write,
            "pwrite64": lambda given, size: self._written(self._open.get(int(given[0])), int(given[3]), given[1], size),
            "ftruncate": self._resized,
            "fsync": self._synced,
            "fdatasync": self._synced,
            "rename": lambda given, _: self._renamed(given[0], given[1]),
            "renameat": lambda given, _: self._renamed(given[1], given[3]),
            "renameat2": lambda given, _: self._renamed(given[1], given[3]),
            "unlink": lambda given, _: self._removed(given[0]),
            "unlinkat": lambda given, _: self._removed(given[1]),
            "rmdir": lambda given, _: self._removed(given[0]),
            "mkdir": lambda given, _: self._made(given[0]),
            "mkdirat": lambda given, _: self._made(given[1]),
            "copy_file_range": self._copied,
            "sendfile": self._sent,
        }

    def take(self, line: str) -> None:
        """Take one line of strace's."""
        beginning, end = _BEGINNING.match(line), _RESULT.search(line, max(0, len(line) - 200))
        if beginning is None or end is None:
            return
        if end[1] == "?":
            self._cut_off.append(line)
        if end[1] == "?" or int(end[1]) < 0:
            return
        call, given, result = beginning[1], line[beginning.end() : end.start()].split(", "), int(end[1])
        if call in self._calls:
            self._calls[call](given, result)
        elif self._concerns(given):
            raise AssertionError(f"nobody knows what {call} does to the files: {line[:200]}")

    def take_what_the_end_cut_off(self) -> None:
        """Take calls as done that the process did not return from; never a sync, of which nobody heard."""
        for line in self._cut_off:
            beginning = _BEGINNING.match(line)
            if beginning is not None and not beginning[1].endswith("sync"):
                given = line[beginning.end() :].split(", ")
                size = given[2].partition(")")[0] if beginning[1] in {"write", "pwrite64"} else "0"
                self.take(f"{line.removesuffix('?')}{size}")

    def _concerns(self, given: list[str]) -> bool:
        return any(
            (each.isdigit() and int(each) in self._open) or (each.startswith('"') and self._name(each) is not None)
            for each in given
        )

    def _name(self, text: str) -> str | None:
        """Return the name below the folder, where it is there and not only in memory."""
        path = Path(_bytes(text).decode())
        folder = self._recorder.folder
        if folder not in path.parents or path.name.endswith(_NOT_ON_DISK):
            return None
        return str(path.relative_to(folder))

    def _opened(self, given: list[str], descriptor: int) -> None:
        path, flags = Path(_bytes(given[0]).decode()), given[1].split("|")
        self._closed(descriptor)
        recorder = self._recorder
        if path == recorder.marks:
            self._marks.add(descriptor)
        if path == recorder.folder:
            self._open[descriptor] = _Open(FOLDER, "")
        name = self._name(given[0])
        if name is None:
            return
        if name not in recorder.names:
            recorder.create(name)
        file = recorder.names[name]
        if "O_TRUNC" in flags and recorder.contents[file]:
            recorder.do(Resize(file, 0))
        self._open[descriptor] = _Open(file, name, appends="O_APPEND" in flags)

    def _closed(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        self._marks.discard(descriptor)

    def _fcntl(self, given: list[str], result: int) -> None:
        if given[1].startswith("F_DUPFD") and int(given[0]) in self._open:
            self._open[result] = self._open[int(given[0])]

    def _moved(self, given: list[str], at: int) -> None:
        if (opened := self._open.get(int(given[0]))) is not None:
            opened.at = at

    def _read(self, given: list[str], size: int) -> None:
        if (opened := self._open.get(int(given[0]))) is not None:
            opened.at += size

    def _write(self, given: list[str], size: int) -> None:
        if int(given[0]) in self._marks:
            for line in _bytes(given[1]).decode().splitlines():
                kind, *events = line.split()
                self._recorder.do(Mark(kind, tuple(events)))
        elif (opened := self._open.get(int(given[0]))) is not None:
            at = len(self._recorder.contents[opened.file]) if opened.appends else opened.at
            self._written(opened, at, given[1], size)
            opened.at = at + size

    def _written(self, opened: _Open | None, at: int, text: str, size: int) -> None:
        if opened is not None and size:
            self._recorder.do(Write(opened.file, at, _bytes(text)[:size]))

    def _resized(self, given: list[str], _: int) -> None:
        if (opened := self._open.get(int(given[0]))) is not None:
            self._recorder.do(Resize(opened.file, int(given[1])))

    def _synced(self, given: list[str], _: int) -> None:
        if (opened := self._open.get(int(given[0]))) is not None:
            self._recorder.do(SyncNames(opened.name) if opened.file == FOLDER else Sync(opened.file))

    def _renamed(self, before: str, after: str) -> None:
        old, new = self._name(before), self._name(after)
        if old is not None and new is not None:
            self._recorder.do(Rename(old, new, self._recorder.names[old]))

    def _removed(self, text: str) -> None:
        if (name := self._name(text)) is not None:
            self._recorder.do(Remove(name))

    def _made(self, text: str) -> None:
        if (name := self._name(text)) is not None:
            self._recorder.create(name, FOLDER)

    def _copied(self, given: list[str], size: int) -> None:
        source, target = self._open.get(int(given[0])), self._open.get(int(given[2]))
        assert (given[1], given[3]) == ("NULL", "NULL") or target is None
        self._copy(source, target, None, size)

    def _sent(self, given: list[str], size: int) -> None:
        offset = None if given[2] == "NULL" else int(given[2].strip("[").partition("]")[0])
        self._copy(self._open.get(int(given[1])), self._open.get(int(given[0])), offset, size)

    def _copy(self, source: _Open | None, target: _Open | None, offset: int | None, size: int) -> None:
        if target is None or not size:
            return
        assert source is not None
        start = source.at if offset is None else offset
        data = bytes(self._recorder.contents[source.file][start : start + size])
        self._recorder.do(Write(target.file, target.at, data))
        target.at += size
        if offset is None:
            source.at += size


def _bytes(text: str) -> bytes:
    """Read a string as `strace -xx` writes it."""
    assert (text[0], text[-1]) == ('"', '"'), text[-100:]
    return bytes.fromhex(text[1:-1].replace("\\x", ""))


def python(*arguments: str) -> list[str]:
    """Return the command of a Python process."""
    return [sys.executable, "-X", "frozen_modules=on", "-B", *arguments]
