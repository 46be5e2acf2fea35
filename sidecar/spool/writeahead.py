"""What SQLite's write-ahead log says of itself.

SQLite reads the log up to the first page whose checksum is wrong, and takes the rest for what a crash left behind;
it says nothing. Most often it is right. But where a disk damaged the log, transactions that were acknowledged are
behind that page. So the spool compares what SQLite read with what the log has.

The format is https://www.sqlite.org/fileformat2.html#the_write_ahead_log. Only the heads of pages are read.
"""

from __future__ import annotations

import struct
from pathlib import Path

_MAGIC = (0x377F0682, 0x377F0683)
_HEAD = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_PAGE_SIZE = 4096
"""Of a spool, where the log does not say it."""


def log_of(path: Path) -> Path:
    """Return the write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


def committed_frames(path: Path) -> int:
    """Return how many pages of the log of the database at `path` belong to transactions that were committed.

    Pages left over from before the log was last begun anew have another salt. What is filled with zeros, and a log
    whose head is unreadable, may have been anything, and counts.
    """
    try:
        log = log_of(path).open("rb")
    except FileNotFoundError:
        return 0
    with log:
        size = log.seek(0, 2)
        log.seek(0)
        head = log.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return 0
        magic, _, page_size, _, *salts, _, _ = _HEAD.unpack(head)
        if magic not in _MAGIC or not 512 <= page_size <= 65536:
            return (size - _HEAD.size) // (_FRAME.size + _PAGE_SIZE)
        committed = 0
        for number in range((size - _HEAD.size) // (_FRAME.size + page_size)):
            log.seek(_HEAD.size + number * (_FRAME.size + page_size))
            page, pages_after, *its_salts, _, _ = _FRAME.unpack(log.read(_FRAME.size))
            if page == 0 or (
                its_salts == salts and pages_after
            ):  # no page has the number 0: zeros were written over it
                committed = number + 1
        return committed
