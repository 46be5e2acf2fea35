"""One budget of bytes for all that is held for clients, on both listeners.

Heads and bodies that are not complete, requests that wait for their turn, answers that nobody reads: each byte is taken
from here before it is held, and given back when it is not. What there is no room for is refused.
"""

from __future__ import annotations

SMALL_BYTES = 64 * 1024
"""Largest body that may use the reserve for small requests; nearly all events are far smaller."""
SMALL_HEAD_BYTES = 8 * 1024
"""Largest head that may; longer ones are rare."""


class ByteBudget:
    """Counts the bytes held, up to a maximum."""

    def __init__(self, size: int = 16 * 1024 * 1024, kept_free: int = 4 * 1024 * 1024) -> None:
        """At most `size` bytes; `kept_free` of them are for small requests, so that a few large ones do not block all.

        During delivery, and when EventGate echoes them, events take up to seven times as much; a pod has 200 MiB.
        """
        self.size = size
        self.kept_free = kept_free
        self.held = 0

    def take(self, size: int, *, small: bool) -> bool:
        """Take `size` bytes and return True; return False, and take none, if there is no room.

        `small`: the reserve may be used.
        """
        if self.held + size > (self.size if small else self.size - self.kept_free):
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """Give back `size` bytes."""
        self.held -= size

    @property
    def room(self) -> int:
        """Free bytes without the reserve."""
        return self.size - self.kept_free - self.held

    @property
    def full(self) -> str:
        """The message for a client if there is no room."""
        return f"all of the {self.size} bytes for requests in flight are in use; try again in a second"
