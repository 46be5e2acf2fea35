"""The budget of bytes held for clients of both listeners.

Incomplete heads and bodies, waiting requests and unread answers are counted here before they are held, and given back
afterwards. What does not fit is refused. A gateway has many clients, so each address has a share of bytes and of
connections there.
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
    """Of its clients."""

    def __init__(self, size: int = 16 * 1024 * 1024, kept_free: int = 4 * 1024 * 1024) -> None:
        """At most `size` bytes; `kept_free` of them are for small requests, so that a few large ones do not block all.

        During delivery, and when EventGate echoes them, events take up to seven times as much; a pod has 200 MiB.
        """
        self.size = size
        self.kept_free = kept_free
        self.held = 0
        self.connections = 0
        """Of its clients."""

    def of(self, _client: str) -> ByteBudget:
        """Return the budget of a client's address: all share this one."""
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
        """Give back `size` bytes; a negative size takes bytes without checking for room."""
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
    """The budget of a gateway, of which no client's address may take everything."""

    def __init__(self, size: int = 64 * 1024 * 1024, share: int = 16 * 1024 * 1024, connections: int = 64) -> None:
        """At most `share` bytes, enough for the largest body, and `connections` connections for one address."""
        super().__init__(size, size // 4)
        self._share, self._connections = share, connections
        self._shares: weakref.WeakValueDictionary[str, ByteBudget] = weakref.WeakValueDictionary()

    def of(self, client: str) -> ByteBudget:
        """Return the share of an address, which exists while it is used."""
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
