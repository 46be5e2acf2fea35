"""The spool's file: one SQLite database, used synchronously.

Callers open a transaction around several calls, so that many events cost one fsync. The command line opens the same
file while the sidecar runs; `edited` tells when another process changed it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from sidecar.spool import schema
from sidecar.spool.record import (
    MAX_SET_BACK_SECONDS,
    Batch,
    DeadLetter,
    Fresh,
    Gone,
    Key,
    Quota,
    Spooled,
    Tally,
    Totals,
    most_bytes,
)
from sidecar.spool.schema import PAGE, Space, Unusable, event_of, letter_of, row_of, rows_of

Table = Literal["waiting", "dead"]
Mode = Literal["create", "write", "read", "build"]
"""`build`: fill a new file that is not in use before it is complete."""
_ACCESS = {"create": "rwc", "write": "rw", "read": "ro", "build": "rwc"}

DAMAGED_EVENT = "damaged on the disk: its checksum does not fit it any more"
"""Reason of a dead letter that must not be sent as it is."""
LAST = 2**62
"""Higher than any number."""


class SpoolFile:
    """An open spool."""

    def __init__(self, path: Path, quota: Quota, busy_seconds: float = 1.0, mode: Mode = "create") -> None:
        """Open the file at `path`; `busy_seconds`: how long to wait for another process that is writing.

        Raises:
            Unusable: its schema is not that of a spool of this version.
            sqlite3.Error: it cannot be opened or written now, or it is damaged.

        """
        self.frames_read = 0
        """Pages that SQLite read from the write-ahead log when it opened the file."""
        self._quota = quota
        self._space = Space(path, quota)
        uri = f"{path.absolute().as_uri()}?mode={_ACCESS[mode]}"
        self._connection = sqlite3.connect(uri, busy_seconds, isolation_level=None, uri=True)
        self._connection.text_factory = schema.lenient_text
        self._durable = True
        try:
            self._set_up(mode)
        except BaseException:
            self.close()
            raise

    def _set_up(self, mode: Mode) -> None:
        version = schema.version_of(self._connection)
        if version not in (0, schema.VERSION):
            raise Unusable("older", f"it has version {version}; a sidecar migrates it when it starts", version)
        if version == 0 and mode not in ("create", "build"):
            raise Unusable("damaged", "it is empty")
        journal = self._quota.journal
        # Debian's SQLite would overwrite what is deleted, which doubles the writes for large events.
        pragmas = ["cell_size_check = ON", "trusted_schema = OFF", "secure_delete = OFF"]
        pragmas += [] if version else ["auto_vacuum = INCREMENTAL"]
        if mode == "build":
            pragmas += ["journal_mode = OFF", "synchronous = OFF"]
        elif mode != "read":
            pragmas += ["journal_mode = WAL", "synchronous = FULL", f"max_page_count = {self._space.quota_pages}"]
            # With the size of the largest transaction, this keeps the log within its share.
            pragmas += [f"journal_size_limit = {journal}", f"wal_autocheckpoint = {journal // PAGE // 4}"]
        for each in pragmas:
            self._connection.execute(f"PRAGMA {each}").fetchall()
        if mode == "create":
            self.frames_read = self._one("PRAGMA wal_checkpoint(PASSIVE)", 1)
        if version == 0:
            with self.transaction():
                schema.create(self._connection)
        self._seen = self._one("PRAGMA data_version")
        self._count()

    def close(self) -> None:
        """Close it, and ignore errors."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    # --- transactions ---

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Run the block in a transaction, which is rolled back if it raises.

        `durable`: it survives a power loss. In any case it survives the process.
        """
        if durable is not self._durable:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        if self._space.look():
            self._room = 0
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
                self._count()
            raise

    def edited(self) -> bool:
        """Whether another process changed the file since the last call; if so, count everything again."""
        before, self._seen = self._seen, self._one("PRAGMA data_version")
        if self._seen != before:
            self._count()
        return self._seen != before

    def prove_writable(self) -> None:
        """Write something, to see whether that works; call it in a transaction."""
        self._connection.execute(f"PRAGMA user_version = {schema.VERSION}")

    def copy_log(self) -> None:
        """Write the contents of the write-ahead log into the file, durably."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def has_unused(self) -> bool:
        """Whether the file has free pages."""
        return self._one("PRAGMA freelist_count") > 0

    def give_back(self, pages: int) -> None:
        """Return free pages to the disk; do not call it in a transaction."""
        if self.has_unused():  # not `execute`, which frees only one page
            self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    def problems(self) -> list[str]:
        """Return everything that SQLite finds wrong; slow for a large file."""
        return schema.problems_of(self._connection)

    def _one(self, statement: str, column: int = 0) -> int:
        return int(self._connection.execute(statement).fetchone()[column])

    def _count(self) -> None:
        self._tally, self._fresh, self._room, self._largest = Tally(), Fresh(), 0, 0
        for upstream, stream, events, size, largest in self._connection.execute(schema.COUNTS):
            self._tally.waiting(upstream, stream, events, size)
            self._largest = max(self._largest, largest)
        self._tally.dead(*self._connection.execute("SELECT count(*), total(size) FROM dead").fetchone())
        self.last = self._one("SELECT ifnull(max(seq), 0) FROM sqlite_sequence")  # the highest number so far

    def number_after(self, last: int) -> None:
        """Give new events higher numbers than `last` and those of dead letters, which a saved file may lack."""
        last = max(last, self._one("SELECT ifnull(max(arrival), 0) FROM dead"))
        if self.last < last:
            with self.transaction():
                self._connection.execute("DELETE FROM sqlite_sequence")
                self._connection.execute("INSERT INTO sqlite_sequence VALUES ('waiting', ?)", (last,))
            self.last = last

    def totals(self) -> Totals:
        """Return the current counts."""
        most = max(1, self._most_pages())
        free = self._free_pages() + max(0, self._tally.dead_size - self._space.dead_share) // PAGE
        (oldest,) = self._connection.execute("SELECT min(first_seen) FROM waiting").fetchone()
        return self._tally.totals(oldest, 1 - min(max(free, 0), most) / most, self._space.withheld * PAGE)

    def keys(self) -> set[Key]:
        """Return the keys of waiting events."""
        heads = "SELECT order_key FROM waiting WHERE head AND order_key IS NOT NULL"
        return {key for (key,) in self._connection.execute(heads)}

    def newest(self) -> float | None:
        """Return the latest time of any waiting event."""
        times = self._connection.execute("SELECT max(first_seen), max(last_attempt) FROM waiting").fetchone()
        return max(filter(None, times), default=None)

    # --- waiting events ---

    def put(self, events: Sequence[Spooled]) -> bool:
        """Store all `events`, and drop dead letters to make room; False, and store none, if there is none."""
        sizes = [each.size for each in events]
        before = self._largest if self._tally.events else 0  # the largest may have left
        self._largest = max([before, *sizes])
        pages = sum(most_bytes(size, PAGE) for size in sizes) // PAGE + 1
        if pages > self._room or self._largest > before:  # `_room` is a lower bound
            if not self._make_room(pages, self._space.dead_share):
                self._largest = before
                return False
            self._room = self._free_pages()
        self._room -= pages
        for each, size in zip(events, sizes, strict=True):
            self.restore(each, size)
        return True

    def restore(self, event: Spooled, size: int) -> None:
        """Store an event of this size without checking for room; IntegrityError if its number is taken."""
        key = event.order_key
        head = key is None or not self.first_two(key)
        arrival = self._connection.execute(schema.PUT, (*row_of(event, size), head)).lastrowid or 0
        self._fresh.add(arrival, event)
        self.last = max(self.last, arrival)
        self._tally.waiting(event.upstream, event.stream, 1, size)
        if key is not None and not head:
            self._mark_first(key)

    def first_two(self, key: Key) -> list[tuple[int, int]]:
        """Return the number of the first event of a key and of the one after it, each with whether it is the head."""
        first = "SELECT arrival, head FROM waiting WHERE order_key = ? ORDER BY ahead DESC, arrival LIMIT 2"
        return self._connection.execute(first, (key,)).fetchall()

    def _mark_first(self, key: Key) -> bool:
        """Mark the first event of a key, and no other, as its head; return False if it has none."""
        events = self.first_two(key)
        for place, (arrival, head) in enumerate(events):
            if head != (place == 0):
                self._connection.execute("UPDATE waiting SET head = ? WHERE arrival = ?", (place == 0, arrival))
        return bool(events)

    def _make_room(self, pages: int, share: int) -> bool:
        """Drop the oldest dead letters until `pages` are free; False if under `share` bytes would be left.

        That may take several rounds: small ones share pages, which are free once all of them have left.
        """
        while (missing := (pages - self._free_pages()) * PAGE) > 0:
            if self._tally.dead_size - missing < share or not self._drop_oldest(missing):
                return False
        return True

    def _drop_oldest(self, size: int) -> int:
        leaving = []
        for arrival, freed in self._connection.execute("SELECT arrival, size FROM dead ORDER BY died, arrival"):
            leaving.append(arrival)
            size -= freed
            if size <= 0:
                break
        dropped = self.drop_dead(leaving)
        self._tally.dropped += dropped
        return dropped

    def _free_pages(self) -> int:
        """Return how many more pages events may take.

        Some are reserved for notes and indexes, and for a copy of the largest event: SQLite writes a changed row before
        it frees the old one, even if only a number changes.
        """
        return self._most_pages() - self._one("PRAGMA page_count") + self._one("PRAGMA freelist_count")

    def _most_pages(self) -> int:
        return self._space.most - self._space.spare - most_bytes(self._largest, PAGE) // PAGE

    def hand_out(
        self,
        upstream: str,
        now: float,
        in_flight: Collection[int] = (),
        held_back: Collection[Key] = (),
        *,
        events: int,
        size: int,
        untried_first: bool = False,
        keyed: bool = True,
    ) -> Batch:
        """Return the first events for `upstream` that may be sent now, at most `events` and `size` bytes.

        At most one per key, and only events without a key unless `keyed`. Skips `in_flight` and keys `held_back`.
        `untried_first`: events that were set back only if there are no others. A damaged one becomes a dead letter.
        """
        chosen, tried = list[int](), list[tuple[float, int]]()
        for arrival, key, due, its_size in self._connection.execute(schema.HEADS, (upstream, keyed)):
            # An event due later than the maximum delay was written with a wrong clock.
            if arrival in in_flight or key in held_back or now < due <= now + MAX_SET_BACK_SECONDS:
                continue
            if untried_first and due:
                tried.append((due, arrival))
                continue
            if chosen and its_size > size:
                break
            chosen.append(arrival)
            size -= its_size
            if len(chosen) == events:
                break
        found = self._read(chosen or [arrival for _, arrival in sorted(tried)[:1]])
        damaged = [event.arrival for event, sound in found if not sound]
        gone = [each for arrival in damaged for each in self.bury(arrival, DAMAGED_EVENT, b"", now)]
        return Batch([event for event, sound in found if sound], gone)

    def _read(self, arrivals: Sequence[int]) -> list[tuple[Spooled, bool]]:
        """Return events in the order of `arrivals`, from memory where they are; False: damaged."""
        found = {arrival: (event, True) for arrival in arrivals if (event := self._fresh.take(arrival))}
        if missing := [arrival for arrival in arrivals if arrival not in found]:
            rows = self._connection.execute(schema.READ, (msgspec.json.encode(missing).decode(),)).fetchall()
            found |= {row[0]: event_of(row) for row in rows}
        return [found[arrival] for arrival in arrivals if arrival in found]

    def delivered(self, arrivals: Iterable[int]) -> list[Gone]:
        """Delete events; return those that were still there."""
        # One statement for all: each step of SQLite lets another thread run Python, and has to wait for it.
        gone, numbers = list[Gone](), msgspec.json.encode(list(arrivals)).decode()
        rows = self._connection.execute(schema.DELIVERED, (numbers,)).fetchall()
        for arrival, upstream, stream, key, size in rows:
            self._tally.waiting(upstream, stream, -1, -size)
            gone.append(Gone(arrival, stream, None if key is None or self._mark_first(key) else key))
        return gone

    def failed(self, arrival: int, reason: str, tried: float | None, due: float = 0.0, *, error: bool = False) -> None:
        """Record a failure; `tried`: the time of the attempt, if there was one; `error`: it was this event's fault."""
        self._fresh.take(arrival)  # it is outdated now
        room = self._free_pages() + self._space.spare // 2  # the rest is for what else has to be changed
        self._connection.execute(schema.FAILED, (tried, error, reason[:1000] if room > 0 else "", due, arrival))

    def hurry_all(self, upstream: str) -> None:
        """Make failed events due at once, unless the failure was their own fault; the last one tried comes last."""
        self._connection.execute(schema.HURRY, (upstream,))

    def move(self, event: Spooled) -> list[Gone]:
        """Change the upstream or the stream of an event; return what left its old place."""
        if gone := self.delivered([event.arrival]):
            self.restore(event, event.size)
        return gone

    def bury(self, arrival: int, reason: str, verdict: bytes, now: float) -> list[Gone]:
        """Make an event a dead letter."""
        row = self._connection.execute(schema.READ, (f"[{arrival}]",)).fetchone()
        gone = self.delivered([arrival])  # first, since a full file needs its pages
        if gone:
            self._make_room(len(row[-1]) // PAGE + 4 - self._space.spare // 2, 0)
            self._connection.execute(schema.BURY, (*row, reason[:1000], verdict, now))
            (size,) = self._connection.execute(schema.GROW, (arrival,)).fetchone()
            self._tally.dead(1, size)
        return gone

    def too_old(self, before: float, in_flight: Collection[int]) -> list[int]:
        """Return the oldest events first seen before a time, at most `PAGE_ROWS` and about `PAGE_BYTES`."""
        chosen, size = list[int](), 0
        oldest = "SELECT arrival, size FROM waiting WHERE first_seen < ? ORDER BY first_seen LIMIT ?"
        for arrival, its_size in self._connection.execute(oldest, (before, schema.PAGE_ROWS)):
            if arrival not in in_flight and size < schema.PAGE_BYTES:
                chosen.append(arrival)
                size += its_size
        return chosen

    # --- dead letters ---

    def drop_dead(self, arrivals: Iterable[int]) -> int:
        """Delete dead letters; return how many were still there."""
        drop = "DELETE FROM dead WHERE arrival = ? RETURNING size"
        sizes = [size for arrival in arrivals for (size,) in self._connection.execute(drop, (arrival,))]
        self._tally.dead(-len(sizes), -sum(sizes))
        return len(sizes)

    def revive(self, arrival: int, now: float) -> bool:
        """Queue a dead letter again, with a new age but its old place in the order; False if it is damaged or gone."""
        for letter, sound in self.dead_letters(arrival, arrival):
            if sound:  # else it would get a checksum that fits, and be sent
                self.drop_dead([arrival])
                fresh = msgspec.structs.replace(letter.event, errors=0, due=0.0, first_seen=now)
                self.restore(fresh, fresh.size)
            return sound
        return False

    def hurry(self, arrival: int) -> bool:
        """Make a waiting event due at once, and reset its errors."""
        hurry = "UPDATE waiting SET due = 0, errors = 0 WHERE arrival = ?"
        return self._connection.execute(hurry, (arrival,)).rowcount == 1

    def restore_letter(self, letter: DeadLetter) -> None:
        """Add a dead letter of another file."""
        row = row_of(letter.event, letter.event.size)
        self._connection.execute(schema.BURY, (*row, letter.reason, letter.verdict, letter.died))
        self._tally.dead(1, letter.event.size)

    # --- reading ---

    def arrivals(self, table: Table) -> list[int]:
        """Return the numbers of all events, in order."""
        return [arrival for (arrival,) in self._connection.execute(f"SELECT arrival FROM {table} ORDER BY 1")]  # noqa: S608

    def waiting(self, first: int = 0, last: int = LAST) -> Iterator[tuple[Spooled, bool]]:
        """Yield the waiting events, in order; False: damaged."""
        for row in rows_of(self._connection, "waiting", "", first, last):
            yield event_of(row)

    def dead_letters(self, first: int = 0, last: int = LAST) -> Iterator[tuple[DeadLetter, bool]]:
        """Yield the dead letters, by number; False: damaged."""
        for row in rows_of(self._connection, "dead", ", reason, verdict, died", first, last):
            event, sound = event_of(row)
            yield letter_of(event, *row[-3:]), sound
