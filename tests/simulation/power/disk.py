"""Files as they are on a disk: what is synced, what is not, and what a power loss may leave. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

SECTOR = 512
FOLDER = -1
"""Stands for a directory where names lead to files by number."""


@dataclass(frozen=True)
class Write:
    """Bytes were written to a file."""

    file: int
    offset: int
    data: bytes

    def __str__(self) -> str:
        """Say what was written where."""
        return f"write {len(self.data)} bytes at {self.offset} of file {self.file}"


@dataclass(frozen=True)
class Resize:
    """A file was cut or made longer."""

    file: int
    size: int

    def __str__(self) -> str:
        """Say to which size."""
        return f"resize file {self.file} to {self.size} bytes"


@dataclass(frozen=True)
class Sync:
    """All that was done to the contents of a file is on the disk."""

    file: int

    def __str__(self) -> str:
        """Say of which file."""
        return f"sync file {self.file}"


@dataclass(frozen=True)
class Create:
    """A name leads to a new file, or to a new directory."""

    name: str
    file: int

    def __str__(self) -> str:
        """Say which name leads where."""
        return f"create {self.name} ({'directory' if self.file == FOLDER else f'file {self.file}'})"


@dataclass(frozen=True)
class Rename:
    """A file has another name."""

    before: str
    after: str
    file: int

    def __str__(self) -> str:
        """Say which."""
        return f"rename {self.before} to {self.after} (file {self.file})"


@dataclass(frozen=True)
class Remove:
    """A name leads nowhere any more."""

    name: str

    def __str__(self) -> str:
        """Say which."""
        return f"remove {self.name}"


@dataclass(frozen=True)
class SyncNames:
    """The names in a directory are on the disk."""

    folder: str

    def __str__(self) -> str:
        """Say in which."""
        return f"sync the names in {self.folder or 'the root'}"


@dataclass(frozen=True)
class Mark:
    """The process said something: `kind` and the events it is about."""

    kind: str
    events: tuple[str, ...]

    def __str__(self) -> str:
        """Repeat it."""
        return f"--- {self.kind} {' '.join(self.events)}"


Named = Create | Rename | Remove
Change = Write | Resize | Named
Op = Change | Sync | SyncNames | Mark


@dataclass(frozen=True)
class Kept:
    """What a power loss left of an operation that was not synced: the sectors of a write, or all or nothing."""

    share: float
    """1.0: all of it; 0.0: nothing."""
    sectors: frozenset[int] = frozenset()
    """Where it is torn: those, counted from its beginning, that were written."""
    extended: bool = False
    """The file has become as long as the write made it, though zeros are where its data was lost."""

    def __str__(self) -> str:
        """Say it in a word."""
        if 0 < self.share < 1:
            return f"torn, with {len(self.sectors)} of its sectors"
        return "kept" if self.share else "lost, its file is longer by zeros" if self.extended else "lost"


ALL, NOTHING = Kept(1.0), Kept(0.0)


def apply(contents: bytearray, op: Write | Resize, kept: Kept = ALL) -> None:
    """Change a file's contents by what was kept of an operation."""
    if isinstance(op, Resize):
        if kept.share:
            del contents[op.size :]
            contents.extend(bytes(op.size - len(contents)))
        return
    end = op.offset + len(op.data)
    if kept.extended or kept.share == 1:
        contents.extend(bytes(max(0, end - len(contents))))
    if kept.share == 1:
        contents[op.offset : end] = op.data
    elif kept.share:
        for first, last in sectors(op):
            if first // SECTOR - op.offset // SECTOR in kept.sectors:
                contents.extend(bytes(max(0, last - len(contents))))
                contents[first:last] = op.data[first - op.offset : last - op.offset]


def sectors(write: Write) -> Iterator[tuple[int, int]]:
    """Yield where each sector of a write begins and ends in the file."""
    first, end = write.offset, write.offset + len(write.data)
    while first < end:
        last = min(end, (first // SECTOR + 1) * SECTOR)
        yield first, last
        first = last


def rename(names: dict[str, int], op: Named) -> None:
    """Change names by an operation; what lies in a renamed directory goes with it."""
    if isinstance(op, Create):
        names[op.name] = op.file
    elif isinstance(op, Remove):
        names.pop(op.name, None)
    else:
        names.pop(op.before, None)
        names[op.after] = op.file
        for name in [name for name in names if name.startswith(f"{op.before}/")]:
            names[op.after + name.removeprefix(op.before)] = names.pop(name)


def folder_of(op: Named) -> str:
    """Return the directory whose names an operation changes; empty for the root."""
    return (op.after if isinstance(op, Rename) else op.name).rpartition("/")[0]


@dataclass
class Disk:
    """What is synced, and what was done since."""

    contents: dict[int, bytearray] = field(default_factory=dict)
    """What is synced of each file."""
    names: dict[str, int] = field(default_factory=dict)
    """The names that are synced."""
    unsynced: list[Change] = field(default_factory=list)
    """All that a power loss may undo, in the order in which it was done."""

    def do(self, op: Op) -> None:
        """Take an operation."""
        if isinstance(op, Sync):
            contents = self.contents.setdefault(op.file, bytearray())
            for each in self._take(lambda each: isinstance(each, Write | Resize) and each.file == op.file):
                apply(contents, each)
        elif isinstance(op, SyncNames):
            for each in self._take(lambda each: not isinstance(each, Write | Resize) and folder_of(each) == op.folder):
                rename(self.names, each)
        elif not isinstance(op, Mark):
            self.unsynced.append(op)

    def _take(self, which: Callable[[Change], bool]) -> list[Any]:
        taken = [each for each in self.unsynced if which(each)]
        self.unsynced = [each for each in self.unsynced if not which(each)]
        return taken

    def after_power_loss(self, fates: Sequence[Kept]) -> dict[str, bytes | None]:
        """Return the files as a power loss may leave them: name → contents, None for a directory.

        `fates` has what became of each operation in `unsynced`.
        """
        names, contents = dict(self.names), dict(self.contents)
        copied: set[int] = set()
        for op, kept in zip(self.unsynced, fates, strict=True):
            if isinstance(op, Write | Resize):
                if op.file not in copied:
                    copied.add(op.file)
                    contents[op.file] = bytearray(contents.get(op.file, b""))
                apply(contents[op.file], op, kept)
            elif kept.share:
                rename(names, op)
        return {
            name: None if file == FOLDER else bytes(contents.get(file, b""))
            for name, file in sorted(names.items())
            if _reachable(name, names)
        }


def _reachable(name: str, names: dict[str, int]) -> bool:
    folder = name.rpartition("/")[0]
    return not folder or (names.get(folder) == FOLDER and _reachable(folder, names))


def fates(unsynced: Sequence[Change], chance: random.Random) -> list[Kept]:
    """Decide what a power loss leaves of each operation, in one of the ways in which disks differ."""
    torn, zeros = chance.choice((0.0, 0.1, 0.5)), chance.random() < 0.5
    if chance.random() < 0.3:  # what came first was written first, up to some operation
        cut = chance.randrange(len(unsynced) + 1)
        first_lost = [_torn(op, chance, zeros) for op in unsynced[cut : cut + 1]]
        return [*([ALL] * cut), *first_lost, *([NOTHING] * (len(unsynced) - cut - 1))]
    kept = chance.choice((0.0, 0.02, 0.2, 0.5, 0.8, 0.98, 1.0))
    found = []
    for op in unsynced:
        if kept not in {0.0, 1.0} and chance.random() < torn:
            found.append(_torn(op, chance, zeros))
        elif chance.random() < kept:
            found.append(ALL)
        else:
            found.append(Kept(0.0, extended=zeros and isinstance(op, Write)))
    return found


def _torn(op: Change, chance: random.Random, zeros: bool) -> Kept:
    count = len(list(sectors(op))) if isinstance(op, Write) else 1
    if count < 2:
        return chance.choice((ALL, NOTHING))
    cut = chance.randrange(1, count)
    kept = chance.choice((range(cut), range(cut, count), chance.sample(range(count), cut)))
    return Kept(len(kept) / count, frozenset(kept), zeros)
