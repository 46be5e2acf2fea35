"""Recovers events from a damaged spool without SQLite, and detects a damaged write-ahead log.

A damaged file is read page by page, without header, schema or interior pages. Every event has a checksum, so a row with
a valid one is an event wherever it is found. Free pages are skipped, since they have events delivered long ago.

SQLite reads the log up to the first page with a wrong checksum, takes the rest for the remains of a crash, and reports
nothing. Usually that is right; but if the disk damaged the log, acknowledged transactions may follow that page. So the
spool compares what SQLite read with what the log has. Both formats: https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Spooled
from sidecar.spool.schema import COLUMNS, OLD_COLUMNS, PAGE, event_of, letter_of, log_of, old_event_of

_MAGIC = (0x377F0682, 0x377F0683)
_HEAD = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_LEAF = 13
"""First byte of a leaf page."""
_FREE = 2
"""Mark of a free page in the pointer map."""
_MAPPED = PAGE // 5
"""Pages covered by a page of the pointer map; the first map page is the second of the file."""
_LOCAL = PAGE - 35
"""Maximum bytes of a row on its page; of a larger row at least `_LEAST`, the rest is on overflow pages."""
_LEAST = (PAGE - 12) * 32 // 255 - 23

Row = list[Any]


def salvage(path: Path, into: SpoolFile) -> int:
    """Copy every sound event and dead letter of the file at `path` into another; return their number.

    The file and its log are only read.

    Raises:
        sqlite3.Error: the other file cannot be written.

    """
    seen: set[int] = set()
    with contextlib.ExitStack() as files, into.transaction():
        for row in _Pages(path, files).rows():
            found = _event_in(row)
            if found is None or found[0].arrival in seen:
                continue
            event, more = found
            seen.add(event.arrival)
            if more:
                into.restore_letter(letter_of(event, *more))
            else:
                into.restore(event, event.size)
    return len(seen)


def _event_in(row: Row) -> tuple[Spooled, list[Any]] | None:
    """Return the event in a row, and the additional columns of a dead letter; None if it is not a sound event.

    Table and version are recognised by the number of columns.
    """
    width, old = COLUMNS.count(",") + 1, OLD_COLUMNS.count(",") + 1
    if len(row) == width + 1 and (found := event_of([row[0], *row[2:]]))[1]:  # arrival, head, …
        return found[0], []
    if len(row) == width + 3 and (found := event_of([row[0], *row[4:]]))[1]:  # arrival, reason, verdict, died, …
        return found[0], row[1:4]
    if len(row) in (old, old + 1):
        row = [*row[:old], row[old] if len(row) > old else None]
        return (found[0], []) if (found := old_event_of(row))[1] else None
    if len(row) in (old + 3, old + 4):
        more = row[old : old + 3]
        row = [*row[:old], row[old + 3] if len(row) > old + 3 else None]
        return (found[0], more) if (found := old_event_of(row))[1] else None
    return None


class _Pages:
    """The pages of a database, from its log if that has them, else from the file."""

    def __init__(self, path: Path, files: contextlib.ExitStack) -> None:
        self._file = files.enter_context(path.open("rb")) if path.is_file() else None
        log = log_of(path)
        self._log = files.enter_context(log.open("rb")) if log.is_file() else None
        self._in_log: dict[int, int] = {}
        if self._log is not None:
            written: dict[int, int] = {}
            for page, ends, place in _frames(self._log):
                written[page] = place + _FRAME.size
                if ends:  # pages after the last of these were not committed
                    self._in_log |= written
        size = self._file.seek(0, 2) if self._file else 0
        self._last = max(-(-size // PAGE), *self._in_log, 0)

    def rows(self) -> Iterator[Row]:
        """Yield everything that can be read as a row."""
        for number in range(2, self._last + 1):
            page = self._page(number)
            if page[:1] == bytes([_LEAF]) and not self._is_free(number):
                for place in range(min(int.from_bytes(page[3:5], "big"), PAGE // 4)):
                    with contextlib.suppress(IndexError, ValueError, struct.error):
                        start = int.from_bytes(page[8 + 2 * place : 10 + 2 * place], "big")
                        if start:
                            yield self._row(page, start)

    def _page(self, number: int) -> bytes:
        if self._log is not None and number in self._in_log:
            self._log.seek(self._in_log[number])
            page = self._log.read(PAGE)
        elif self._file is not None:
            self._file.seek((number - 1) * PAGE)
            page = self._file.read(PAGE)
        else:
            page = b""
        return page + bytes(PAGE - len(page))

    def _is_free(self, number: int) -> bool:
        of_map = (number - 2) // (_MAPPED + 1) * (_MAPPED + 1) + 2
        return number != of_map and self._page(of_map)[5 * (number - of_map - 1)] == _FREE

    def _row(self, page: bytes, start: int) -> Row:
        size, start = _varint(page, start)
        arrival, start = _varint(page, start)
        if size <= _LOCAL:
            return _values(page[start : start + size], arrival)
        local = _LEAST + (size - _LEAST) % (PAGE - 4)
        local = local if local <= _LOCAL else _LEAST
        parts, left = [page[start : start + local]], size - local
        following = int.from_bytes(page[start + local : start + local + 4], "big")
        while left > 0 and 1 < following <= self._last:
            page = self._page(following)
            parts.append(page[4 : 4 + left])
            left -= PAGE - 4
            following = int.from_bytes(page[:4], "big")
        if left > 0:
            raise ValueError("it ends too early")
        return _values(b"".join(parts), arrival)


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """Return a number of one to nine bytes, and the offset after it."""
    value = 0
    for place in range(start, start + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[start + 8], start + 9


def _values(payload: bytes, arrival: int) -> Row:
    """Return the columns of a row; the first is its number, which the payload does not have."""
    end, place = _varint(payload, 0)
    kinds = []
    while place < end:
        kind = payload[place]
        if kind < 0x80:
            place += 1
        else:
            kind, place = _varint(payload, place)
        kinds.append(kind)
    values: Row = [arrival]
    for kind in kinds[1:]:
        if kind in _FIXED:
            size, read = _FIXED[kind]
        else:
            size, read = (kind - 12) // 2, _text if kind % 2 else bytes
        data, place = payload[place : place + size], place + size
        if len(data) < size:
            raise ValueError("it ends too early")
        values.append(read(data))
    return values


def _whole(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


_FIXED: dict[int, tuple[int, Callable[[bytes], Any]]] = {
    0: (0, lambda _: None),
    **{kind: (size, _whole) for kind, size in {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}.items()},
    7: (8, lambda data: struct.unpack(">d", data)[0]),
    8: (0, lambda _: 0),
    9: (0, lambda _: 1),
    10: (0, lambda _: None),
    11: (0, lambda _: None),
}
"""Size and decoder of a value by its serial type; for text and blobs the type gives the length."""


# --- the write-ahead log ---


def committed_frames(path: Path) -> int:
    """Return the number of pages of committed transactions in the log of the database at `path`.

    Pages left over from before the log was last reset have another salt. Zeroed pages, and all pages of a log with an
    unreadable header, may have been anything, and count.
    """
    try:
        log = log_of(path).open("rb")
    except FileNotFoundError:
        return 0
    with log:
        size = log.seek(0, 2)
        if size >= _HEAD.size and _salts_of(log) is None:
            return (size - _HEAD.size) // (_FRAME.size + PAGE)
        ends = [place for page, ends, place in _frames(log) if page == 0 or ends]
        return (ends[-1] - _HEAD.size) // (_FRAME.size + PAGE) + 1 if ends else 0


def _salts_of(log: IO[bytes]) -> tuple[int, int] | None:
    """Return the salts that mark the current pages; None if the header is unreadable."""
    log.seek(0)
    head = log.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, _, page_size, _, *salts, _, _ = _HEAD.unpack(head)
    return (salts[0], salts[1]) if magic in _MAGIC and page_size == PAGE else None


def _frames(log: IO[bytes]) -> Iterator[tuple[int, bool, int]]:
    """Yield for each page of the log its number, whether a transaction ends with it, and its offset.

    The number of a zeroed page is 0. Without a readable header, old pages are included.
    """
    salts = _salts_of(log)
    size = log.seek(0, 2)
    for place in range(_HEAD.size, size - _FRAME.size - PAGE + 1, _FRAME.size + PAGE):
        log.seek(place)
        page, pages_after, *its_salts, _, _ = _FRAME.unpack(log.read(_FRAME.size))
        if page == 0 or (salts is not None and tuple(its_salts) == salts):
            yield page, bool(pages_after), place
