"""The spool's file: one SQLite database, plain and synchronous.

Whoever holds a `SpoolFile` opens a transaction around what it does, so that many events cost one fsync. The
command line opens the same file while the sidecar runs; `edited` tells when another process changed it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from sidecar.spool.ordering import Key
from sidecar.spool.record import DEAD_SHARE, DeadLetter, Quota, Spooled, Totals
from sidecar.spool.schema import (
    COLUMNS,
    VERSION,
    Unusable,
    event_of,
    is_damage,
    is_sound,
    lenient_text,
    migrate,
    problems_of,
    row_of,
    version_of,
)

Table = Literal["waiting", "dead"]

DAMAGED_EVENT = "damaged on the disk: its checksum does not fit it any more"
"""Reason of a dead letter that must not be sent as it is."""

_MARKS = ", ".join("?" * (COLUMNS.count(",") + 1))
LAST = 2**62
"""Behind every arrival."""
_PAGE = 200
"""Rows read at once by who only looks, so that no long look keeps the file from being tidied."""
# Of each key only the first may be sent: those behind it wait until it is gone.
_MAY_BE_SENT = """
    SELECT arrival, order_key, size FROM waiting AS one
    WHERE upstream = ? AND due <= ? AND (order_key IS NULL OR NOT EXISTS (
        SELECT 1 FROM waiting AS earlier WHERE earlier.upstream = one.upstream
        AND earlier.order_key = one.order_key AND earlier.arrival < one.arrival))
    ORDER BY arrival
"""


class Gone(NamedTuple):
    """An event that left those that wait."""

    arrival: int
    stream: str
    key: Key | None


class Batch(NamedTuple):
    """What `hand_out` found: events to send, and those that turned out to be damaged."""

    events: list[Spooled]
    damaged: list[Gone]


class SpoolFile:
    """An open spool."""

    def __init__(self, path: Path, limits: Quota, busy_seconds: float = 1.0, *, create: bool = True) -> None:
        """Open the file at `path`, make it where there is none, and bring it to this version.

        `busy_seconds`: how long to wait for another process that is writing.

        Raises:
            Unusable: it is damaged, not a spool, or of a newer version.
            sqlite3.Error: it cannot be opened or written now.

        """
        self.migrated_from: int | None = None
        """The version it had, where that was an older one."""
        self.frames_read = 0
        """Pages that SQLite found in the write-ahead log; all of them are in the file itself now."""
        self._limits = limits
        uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        self._connection = sqlite3.connect(uri, busy_seconds, isolation_level=None, uri=True)
        self._connection.text_factory = lenient_text
        try:
            self._set_up()
        except (sqlite3.Error, Unusable) as error:
            self.close()
            if isinstance(error, sqlite3.Error) and is_damage(error):
                raise Unusable("damaged", str(error)) from None
            raise

    def _set_up(self) -> None:
        version = version_of(self._connection)
        pragmas = ["auto_vacuum = INCREMENTAL"] if version == 0 else []
        pragmas += ["journal_mode = WAL", "synchronous = FULL", "cell_size_check = ON", "trusted_schema = OFF"]
        for each in pragmas:
            self._connection.execute(f"PRAGMA {each}").fetchall()
        if problems := problems_of(self._connection):
            raise Unusable("damaged", problems[0])
        self.frames_read = int(self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
        if version < VERSION:
            with self.transaction():
                migrate(self._connection, version)
            self.migrated_from = version or None
        self._seen = self._one("PRAGMA data_version")
        self._count()

    def close(self) -> None:
        """Close it; whatever SQLite says to that changes nothing."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    # --- transactions ---

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is done inside durable as a whole, or as if it had never been."""
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
        """Whether another process changed the file since the last call; all is counted anew then."""
        version = self._one("PRAGMA data_version")
        if version == self._seen:
            return False
        self._seen = version
        self._count()
        return True

    def prove_writable(self) -> None:
        """Write something; to be called in a transaction."""
        self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def has_unused(self) -> bool:
        """Whether there is room that is not used any more."""
        return self._one("PRAGMA freelist_count") > 0

    def give_back(self, pages: int) -> None:
        """Give room that is not used any more back to the disk; not to be called in a transaction."""
        if self.has_unused():
            # Not `execute`: that steps once, and a step is a page.
            self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    def problems(self) -> list[str]:
        """Return everything that SQLite finds wrong; takes long where there is much."""
        try:
            return problems_of(self._connection, thorough=True)
        except sqlite3.DatabaseError as error:
            return [str(error)]

    def _one(self, statement: str) -> int:
        return int(self._connection.execute(statement).fetchone()[0])

    # --- how much there is ---

    def _count(self) -> None:
        self._streams: Counter[str] = Counter()
        self._upstreams: Counter[str] = Counter()
        self._events = self._size = 0
        for upstream, stream, events, size in self._connection.execute(
            "SELECT upstream, stream, count(*), sum(size) FROM waiting GROUP BY 1, 2"
        ):
            self._counted(upstream, stream, size, events)
        dead, size = self._connection.execute("SELECT count(*), total(size) FROM dead").fetchone()
        self._dead, self._dead_size = int(dead), int(size)

    def _counted(self, upstream: str, stream: str, size: int, events: int) -> None:
        self._upstreams[upstream] += events
        self._streams[stream] += events
        self._events += events
        self._size += size

    def totals(self) -> Totals:
        """Return how much the spool holds now."""
        (oldest,) = self._connection.execute("SELECT min(first_seen) FROM waiting").fetchone()
        return Totals(
            events=self._events,
            size=self._size,
            dead=self._dead,
            dead_size=self._dead_size,
            oldest=oldest,
            upstreams=+self._upstreams,
            streams=+self._streams,
        )

    def keys(self) -> dict[Key, int]:
        """Return how many events of each key wait."""
        found = self._connection.execute(
            "SELECT upstream, order_key, count(*) FROM waiting WHERE order_key IS NOT NULL GROUP BY 1, 2"
        )
        return {(upstream, key): count for upstream, key, count in found}

    def last_arrival(self) -> int:
        """Return the highest number that an event in here has; 0 where it is empty."""
        waiting = self._one("SELECT coalesce(max(arrival), 0) FROM waiting")
        return max(waiting, self._one("SELECT coalesce(max(arrival), 0) FROM dead"))

    # --- events that wait ---

    def put(self, events: Sequence[Spooled]) -> int | None:
        """Keep all of `events`, or none where that would be over the limit; None says that.

        Otherwise return how many dead letters were dropped to make room: the oldest, where they take more than
        their share.
        """
        dropped = self._make_room(sum(each.size for each in events))
        if dropped is not None:
            for each in events:
                if self._insert("waiting", each):
                    self._counted(each.upstream, each.stream, each.size, 1)
        return dropped

    def _make_room(self, size: int) -> int | None:
        over = self._size + self._dead_size + size - self._limits.size
        if over <= 0:
            return 0
        if over > self._dead_size - self._limits.size // DEAD_SHARE:
            return None
        leaving = []
        for arrival, freed in self._connection.execute("SELECT arrival, size FROM dead ORDER BY died, arrival"):
            if over <= 0:
                break
            leaving.append(arrival)
            over -= freed
        return self.drop_dead(leaving)

    def _insert(self, table: Table, event: Spooled, more: Mapping[str, Any] | None = None) -> bool:
        """Write a row, `more` being its further columns; one that is there already stays as it is."""
        names = "".join(f", {name}" for name in more or ())
        marks = ", ?" * len(more or ())
        return (
            self._connection.execute(
                f"INSERT OR IGNORE INTO {table} ({COLUMNS}{names}) VALUES ({_MARKS}{marks})",  # noqa: S608  ours
                (*row_of(event), *(more or {}).values()),
            ).rowcount
            == 1
        )

    def hand_out(
        self,
        upstream: str,
        now: float,
        *,
        events: int,
        size: int,
        in_flight: Collection[int] = (),
        earlier: Mapping[Key, int] | None = None,
    ) -> Batch:
        """Return the first events for `upstream` that may be sent now, `events` and `size` bytes of them at most.

        Never two of a key. `in_flight` are under way already. `earlier`: of these keys, no event may be sent
        that arrived after the number given. An event that is damaged becomes a dead letter instead.
        """
        chosen: list[int] = []
        for arrival, key, its_size in self._connection.execute(_MAY_BE_SENT, (upstream, now)):
            if arrival in in_flight or (key is not None and arrival > (earlier or {}).get((upstream, key), arrival)):
                continue
            if chosen and its_size > size:
                break
            chosen.append(arrival)
            size -= its_size
            if len(chosen) == events:
                break
        found, damaged = [], []
        for arrival in chosen:
            for event, sound in self.waiting(arrival, arrival):
                if sound:
                    found.append(event)
                else:
                    damaged += self.bury(arrival, DAMAGED_EVENT, b"", now)
        return Batch(found, damaged)

    def delivered(self, arrivals: Iterable[int]) -> list[Gone]:
        """Forget events; return those that were still there."""
        gone = []
        for arrival in arrivals:
            for upstream, stream, key, size in self._connection.execute(
                "DELETE FROM waiting WHERE arrival = ? RETURNING upstream, stream, order_key, size", (arrival,)
            ).fetchall():
                self._counted(upstream, stream, -size, -1)
                gone.append(Gone(arrival, stream, None if key is None else (upstream, key)))
        return gone

    def failed(self, arrival: int, reason: str, now: float, due: float = 0.0, *, error: bool = False) -> None:
        """Note that an attempt failed; `error`: EventGate met an error with this event and took others."""
        self._connection.execute(
            "UPDATE waiting SET attempts = attempts + 1, errors = errors + ?, last_attempt = ?, last_error = ?, "
            "due = ? WHERE arrival = ?",
            (error, now, reason[:1000], due, arrival),
        )

    def bury(self, arrival: int, reason: str, verdict: bytes, now: float) -> list[Gone]:
        """Make an event a dead letter."""
        self._connection.execute(
            f"INSERT OR REPLACE INTO dead ({COLUMNS}, reason, verdict, died) "  # noqa: S608  ours
            f"SELECT {COLUMNS}, ?, ?, ? FROM waiting WHERE arrival = ?",
            (reason[:1000], verdict, now, arrival),
        )
        gone = self.delivered([arrival])
        if gone:
            (size,) = self._connection.execute(
                "UPDATE dead SET size = size + length(verdict) WHERE arrival = ? RETURNING size", (arrival,)
            ).fetchone()
            self._dead, self._dead_size = self._dead + 1, self._dead_size + size
        return gone

    def too_old(self, before: float, in_flight: Collection[int], at_most: int = 500) -> list[int]:
        """Return the oldest events of those first seen before a time."""
        found = self._connection.execute(
            "SELECT arrival FROM waiting WHERE first_seen < ? ORDER BY first_seen LIMIT ?", (before, at_most)
        )
        return [arrival for (arrival,) in found if arrival not in in_flight]

    # --- dead letters ---

    def drop_dead(self, arrivals: Iterable[int]) -> int:
        """Forget dead letters; return how many were still there."""
        sizes = [
            size
            for arrival in arrivals
            for (size,) in self._connection.execute("DELETE FROM dead WHERE arrival = ? RETURNING size", (arrival,))
        ]
        self._dead, self._dead_size = self._dead - len(sizes), self._dead_size - sum(sizes)
        return len(sizes)

    def revive(self, arrival: int, now: float) -> bool:
        """Let a dead letter wait again as if it had just come, but at its old place in the order."""
        for letter, _ in self.dead_letters(arrival, arrival):
            fresh = msgspec.structs.replace(
                letter.event, errors=0, due=0.0, first_seen=max(now, letter.event.first_seen)
            )
            if self._insert("waiting", fresh):
                self._counted(fresh.upstream, fresh.stream, fresh.size, 1)
            return self.drop_dead([arrival]) == 1
        return False

    def hurry(self, arrival: int) -> bool:
        """Let an event that waits be sent as soon as its turn comes, its errors forgotten."""
        done = self._connection.execute("UPDATE waiting SET due = 0, errors = 0 WHERE arrival = ?", (arrival,))
        return done.rowcount == 1

    # --- looking ---

    def arrivals(self, table: Table) -> list[int]:
        """Return the numbers of all events, in order."""
        return [arrival for (arrival,) in self._connection.execute(f"SELECT arrival FROM {table} ORDER BY 1")]  # noqa: S608

    def waiting(self, first: int = 0, last: int = LAST) -> Iterator[tuple[Spooled, bool]]:
        """Yield the events that wait, in order; False says that one is damaged."""
        for row in self._rows("waiting", "", first, last):
            yield event_of(row), is_sound(row)

    def dead_letters(self, first: int = 0, last: int = LAST) -> Iterator[tuple[DeadLetter, bool]]:
        """Yield the dead letters, in order of arrival; False says that one is damaged."""
        for row in self._rows("dead", ", reason, verdict, died", first, last):
            reason, verdict, died = row[-3:]
            yield DeadLetter(event=event_of(row), reason=reason, verdict=bytes(verdict), died=died), is_sound(row)

    def restore(self, letter: DeadLetter) -> None:
        """Take in a dead letter of another file."""
        more = {"reason": letter.reason, "verdict": letter.verdict, "died": letter.died}
        if self._insert("dead", letter.event, more):
            self._dead, self._dead_size = self._dead + 1, self._dead_size + letter.event.size

    def _rows(self, table: Table, more: str, first: int, last: int) -> Iterator[tuple[Any, ...]]:
        statement = f"SELECT {COLUMNS}{more} FROM {table} WHERE arrival BETWEEN ? AND ? ORDER BY 1 LIMIT {_PAGE}"  # noqa: S608
        while page := self._connection.execute(statement, (first, last)).fetchall():
            yield from page
            first = page[-1][0] + 1
