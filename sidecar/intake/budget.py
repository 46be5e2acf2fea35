"""One budget of bytes for all that is held for clients, on both listeners.

Heads and bodies that are not complete, requests that wait for their turn, answers that nobody reads: each byte is taken
from here before it is held, and given back when it is not. What there is no room for is refused. A gateway has many
clients: there each address has a share, of bytes and of connections.
"""

from __future__ import annotations

import sys
import weakref

SMALL_BYTES = 64 * 1024
"""Largest body that may use the reserve for small requests; nearly all events are far smaller."""
SMALL_HEAD_BYTES = 8 * 1024
"""Largest head that may; longer ones are rare."""


class ByteBudget:
    """Counts the bytes held, up to a maximum."""

    most_connections = sys.maxsize
    """For those who take from it."""

    def __init__(self, size: int = 16 * 1024 * 1024, kept_free: int = 4 * 1024 * 1024) -> None:
        """At most `size` bytes; `kept_free` of them are for small requests, so that a few large ones do not block all.

        During delivery, and when EventGate echoes them, events take up to seven times as much; a pod has 200 MiB.
        """
        self.size = size
        self.kept_free = kept_free
        self.held = 0
        self.connections = 0
        """Of those who take from it."""

    def of(self, _client: str) -> ByteBudget:
        """Return from where bytes are taken that are held for the client at an address: all share one budget."""
        return self

    def take(self, size: int, *, small: bool) -> bool:
        """Take `size` bytes and return True; return False, and take none, if there is no room.

        `small`: the reserve may be used.
        """
        if self.held + size > (self.size if small else self.size - self.kept_free):
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """Give back `size` bytes; fewer than none are taken, whether there is room or not."""
        self.held -= size

    @property
    def room(self) -> int:
        """Free bytes without the reserve."""
        return self.size - self.kept_free - self.held

    @property
    def full(self) -> str:
        """The message for a client if there is no room."""
        return f"all of the {self.size} bytes for requests in flight are in use; try again in a second"


class GatewayBudget(ByteBudget):
    """That of a gateway: no address of a client may take all of it."""

    def __init__(self, size: int = 64 * 1024 * 1024, share: int = 16 * 1024 * 1024, connections: int = 64) -> None:
        """`share` bytes at most for one address, enough for the largest body, and so many of its connections."""
        super().__init__(size, size // 4)
        self._share, self._connections = share, connections
        self._shares: weakref.WeakValueDictionary[str, ByteBudget] = weakref.WeakValueDictionary()

    def of(self, client: str) -> ByteBudget:
        """Return the share of an address, which is there as long as somebody takes from it."""
        share = self._shares.get(client)
        if share is None:
            share = self._shares[client] = _Share(self, self._share, self._connections)
        return share


class _Share(ByteBudget):
    def __init__(self, whole: ByteBudget, size: int, connections: int) -> None:
        super().__init__(size, size // 4)
        self.most_connections = connections
        self._whole = whole

    def take(self, size: int, *, small: bool) -> bool:
        if not super().take(size, small=small):
            return False
        if self._whole.take(size, small=small):
            return True
        super().give(size)
        return False

    def give(self, size: int) -> None:
        super().give(size)
        self._whole.give(size)

    @property
    def room(self) -> int:
        return min(super().room, self._whole.room)
