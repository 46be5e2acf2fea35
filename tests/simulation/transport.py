"""Transports for the sidecar's protocols: asyncio's interface over an end of the simulated network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.loop import SimLoop
    from tests.simulation.network import End


class SimTransport(asyncio.Transport):
    """A connection of the sidecar."""

    def __init__(self, loop: SimLoop, end: End, protocol: Any) -> None:
        """The protocol is notified in the loop's next turn."""
        super().__init__({"peername": end.peer.place, "sockname": end.place})
        self._loop = loop
        self.end = end
        self._protocol = protocol
        self._high = 64 * 1024
        self._low = 16 * 1024
        self._paused_writing = False
        self._closing = False
        self._lost = False
        end.reading = False
        loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._protocol.connection_made(self)
        self.end.reader = self
        self._loop.call_soon(self._first_read)

    def _first_read(self) -> None:
        if not self._closing and not self._asked_to_pause:
            self.end.read_on()

    _asked_to_pause = False

    # --- what asyncio asks of a transport ---

    def write(self, data: Any) -> None:
        """Send."""
        if self._closing or not data:
            return
        self.end.write(bytes(data))
        self._look_at_room()

    def writelines(self, list_of_data: Any) -> None:
        """Send all of it."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Close this direction."""
        self.end.write_eof()

    def can_write_eof(self) -> bool:
        """Return that it can."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return the number of unsent bytes."""
        return self.end.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits at which the protocol must pause."""
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def pause_reading(self) -> None:
        """Stop reading."""
        self._asked_to_pause = True
        self.end.reading = False

    def resume_reading(self) -> None:
        """Read again."""
        self._asked_to_pause = False
        if not self._closing and self.end.reader is self:
            self.end.read_on()

    def is_reading(self) -> bool:
        """Whether it reads."""
        return self.end.reading

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._closing

    def set_protocol(self, protocol: Any) -> None:
        """Use another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Return the protocol."""
        return self._protocol

    def close(self) -> None:
        """Close it once all is sent."""
        if self._closing:
            return
        self._closing = True
        self.end.close()
        if self.end.all_sent:
            self._loop.call_soon(self._end, None)

    def abort(self) -> None:
        """Close it at once."""
        if self._lost:
            return
        self._closing = True
        self.end.reset()
        self._loop.call_soon(self._end, None)

    def _end(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._closing = True
            self.end.gone = self.end.gone or not self.end.waiting
            self._protocol.connection_lost(error)

    def _look_at_room(self) -> None:
        if not self._paused_writing and self.end.waiting > self._high:
            self._paused_writing = True
            self._protocol.pause_writing()
        elif self._paused_writing and self.end.waiting <= self._low:
            self._paused_writing = False
            self._protocol.resume_writing()

    # --- events of the network ---

    def data(self, data: bytes) -> None:
        """Pass bytes on."""
        if self._closing:
            return
        try:
            self._protocol.data_received(data)
        except Exception as error:  # noqa: BLE001  as asyncio and uvloop do
            message = "Fatal error: protocol.data_received() call failed."
            self._loop.call_exception_handler({"message": message, "exception": error})
            self.end.reset()
            self._end(error)

    def eof(self) -> None:
        """Pass the end of stream on; the connection ends unless the protocol wants to write."""
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def lost(self, error: OSError | None) -> None:
        """Pass on that the connection is lost."""
        self._end(error)

    def writable(self) -> None:
        """Pass on that there is room."""
        if self._lost:
            return
        self._look_at_room()
        if self._closing and self.end.all_sent:
            self._end(None)
