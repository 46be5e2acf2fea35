"""Connections in memory, with the faults of real ones.

An `End` is the kernel's state of one side of a connection: bytes to be sent and bytes to be read. Bytes arrive in
order, in pieces of any size, after a latency; a sender is blocked if its peer does not read. A connection may be reset
at any byte, fall silent (a hole), or be closed in one direction. An asyncio transport uses an end (`transport`); the
world's own peers use ends directly.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.simulation.clocks import CLOCKS

if TYPE_CHECKING:
    from tests.simulation.loop import Process, SimLoop

WINDOW = 256 * 1024
"""Bytes in flight or waiting to be read, in each direction of a connection."""

APART = 1e-7
"""Seconds between two pieces that would arrive at the same time; they stay in order."""

Place = tuple[str, int]
"""An IP address and a port."""


class Followed(Protocol):
    """What notes when its bytes came to the other end, unless that was closed by then, and when that had read them."""

    came: float | None
    read: float | None


class Reader(Protocol):
    """The user of an end."""

    def data(self, data: bytes) -> None:
        """Take bytes."""

    def eof(self) -> None:
        """The peer sends nothing more."""

    def lost(self, error: OSError | None, /) -> None:
        """The connection is lost."""

    def writable(self) -> None:
        """There is room to send again."""


class End:
    """One side of a connection."""

    def __init__(self, loop: SimLoop, process: Process | None, place: Place, chance: random.Random) -> None:
        """`place` is its own address; `join` connects two."""
        self.loop = loop
        self.process = process
        self.place = place
        self.reader: Reader | None = None
        self.peer: End
        self.weather: Weather
        self.reading = True
        self.gone = False
        """Closed or reset: its user gets no more events."""
        self.sent = 0
        """Bytes sent so far."""
        self._chance = chance
        self._waiting = bytearray()
        """Not sent yet."""
        self._closes = False
        self._fin_sent = False
        self._came = bytearray()
        """Arrived, but not read."""
        self._came_eof = False
        self._written = self._came_bytes = self._read_bytes = 0
        self._coming: deque[tuple[int, Followed]] = deque()
        """What is there once that many bytes have come."""
        self._unread: deque[tuple[int, Followed]] = deque()
        """What is read once its reader has that many."""
        self._on_way = 0
        self._arrives_at = 0.0
        self._reads = False
        self.eof_told = False

    # --- sending ---

    def write(self, data: bytes, followed: Followed | None = None) -> None:
        """Send, as far as there is room; the rest follows."""
        if self.gone or self._closes:
            return
        self._written += len(data)
        if followed is not None:
            self.peer._coming.append((self._written, followed))
        self._waiting += data
        self._send()

    @property
    def waiting(self) -> int:
        """Bytes that the kernel does not accept yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Send the rest, then close; nothing more is read."""
        self._closes = True
        self.reading = False
        self._send()

    def write_eof(self) -> None:
        """Send the rest, then close this direction."""
        self._closes = True
        self._send()

    def reset(self) -> None:
        """Reset the connection at once; the peer notices as the network allows."""
        if self.gone:
            return
        self.gone = True
        self._waiting.clear()
        if not self.weather.hole:
            self._deliver(self.peer.cut)

    def _send(self) -> None:
        while self._waiting and (room := WINDOW - self._on_way - len(self.peer._came)) > 0:
            piece = bytes(self._waiting[: min(room, self.weather.piece(self._chance))])
            del self._waiting[: len(piece)]
            if self._breaks_in(piece):
                return
            self.sent += len(piece)
            self._on_way += len(piece)
            if self.weather.hole:
                self.weather.swallowed = True
            else:
                self._deliver(self.peer.arrive, piece)
        if self._closes and not self._waiting and not self._fin_sent:
            self._fin_sent = True
            if not self.weather.hole:
                self._deliver(self.peer.arrive_eof)

    def _breaks_in(self, piece: bytes) -> bool:
        """Whether the connection is reset within the next bytes."""
        left = self.weather.reset_after.get(self.process is None, -1)
        if left < 0:
            return False
        if len(piece) < left:
            self.weather.reset_after[self.process is None] = left - len(piece)
            return False
        if left:
            self._deliver(self.peer.arrive, piece[:left])
        self.weather.reset_after.clear()
        self._deliver(self.peer.cut)
        self.peer._deliver(self.cut)
        return True

    def _deliver(self, what: Callable[..., object], *args: object) -> None:
        """Schedule something at the peer, after everything sent earlier."""
        now = self.loop.time()
        self._arrives_at = max(self._arrives_at + APART, now + self.weather.latency(self._chance))
        self.loop.happens(self._arrives_at - now, None, what, *args)

    # --- receiving; in the world, as a kernel does ---

    def arrive(self, data: bytes) -> None:
        """Take bytes from the network."""
        self.peer._on_way -= len(data)
        if self.gone:
            self.peer.cut()  # closed here: RST
            return
        self._came += data
        if not self._closes:
            self._came_bytes += len(data)
            while self._coming and self._coming[0][0] <= self._came_bytes:
                self._coming[0][1].came = CLOCKS.now
                self._unread.append(self._coming.popleft())
        self._read_soon()

    def arrive_eof(self) -> None:
        """Receive the peer's end of stream."""
        self._came_eof = True
        self._read_soon()

    def cut(self) -> None:
        """Receive a reset."""
        if self.gone:
            return
        self.gone = True
        self._came.clear()
        for _, unread in self._unread:
            unread.came = None  # the kernel drops what was not read
        self._waiting.clear()
        self._tell("lost", ConnectionResetError(104, "Connection reset by peer"))

    def read_on(self) -> None:
        """Read again."""
        self.reading = True
        self._read_soon()

    def _read_soon(self) -> None:
        if not self._reads and not self.gone:
            self._reads = True
            self.loop.happens(0.0, self.process, self._read)

    def _read(self) -> None:
        self._reads = False
        if self.gone or not self.reading or self.reader is None:
            if self._closes and (self._came or self._came_eof):
                self._come_to_nothing()
            return
        if self._came:
            most = min(len(self._came), self.weather.piece(self._chance))
            data = bytes(self._came[:most])
            del self._came[:most]
            self._read_bytes += len(data)
            while self._unread and self._unread[0][0] <= self._read_bytes:
                self._unread.popleft()[1].read = CLOCKS.now
            self.reader.data(data)
            self._give_room()
            if self._came or self._came_eof:
                self._read_soon()
        elif self._came_eof and not self.eof_told:
            self.eof_told = True
            self.reader.eof()

    def _come_to_nothing(self) -> None:
        """Answer bytes at a closed socket with RST."""
        if self._came:
            self._came.clear()
            if self._fin_sent:
                self.reset()

    def _give_room(self) -> None:
        peer = self.peer
        if peer._waiting or peer._closes:
            self.loop.happens(self.weather.latency(self._chance), None, peer._flush)

    def _flush(self) -> None:
        before = self.waiting
        self._send()
        if before and self.waiting < before:
            self._tell("writable")

    def _tell(self, what: str, *args: object) -> None:
        if self.reader is not None:
            self.loop.happens(0.0, self.process, getattr(self.reader, what), *args)

    @property
    def all_sent(self) -> bool:
        """Whether nothing is left to send before the connection ends."""
        return not self._waiting and (self._fin_sent or not self._closes)


@dataclass
class Weather:
    """How the network treats a connection."""

    base: float = 0.0003
    """Seconds of latency."""
    spread: float = 0.0004
    loss: float = 0.0
    """Probability that a piece is lost; it is resent 200 ms later."""
    small: float = 0.0
    """Probability that a piece has only a few bytes."""
    hole: bool = False
    """Whether nothing arrives."""
    swallowed: bool = False
    reset_after: dict[bool, int] = field(default_factory=dict)
    """After how many more bytes it breaks, of those that the world (True) or a sidecar (False) sends."""

    def latency(self, chance: random.Random) -> float:
        """Return the latency of the next piece."""
        seconds = self.base + self.spread * chance.random() ** 2
        return seconds + 0.2 if self.loss and chance.random() < self.loss else seconds

    def piece(self, chance: random.Random) -> int:
        """Return the size of the next piece."""
        if self.small and chance.random() < self.small:
            return chance.randint(1, 40)
        return WINDOW


def join(one: End, other: End, weather: Weather) -> None:
    """Make a connection of two ends."""
    one.peer, other.peer = other, one
    one.weather = other.weather = weather
