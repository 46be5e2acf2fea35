"""One budget of bytes for all that is held for clients, on both listeners.

Heads and bodies that are not complete, requests that wait for their turn, answers that nobody reads: each byte is taken
from here before it is held, and given back when it is not. What there is no room for is refused.
"""

from __future__ import annotations

SMALL_BYTES = 64 * 1024
"""A body of which many fit into what is kept free; nearly all events are far smaller."""
SMALL_HEAD_BYTES = 8 * 1024
"""As for a body; a longer head is rare."""


class ByteBudget:
    """How many bytes may be held, and how many are."""

    def __init__(self, size: int = 16 * 1024 * 1024, kept_free: int = 4 * 1024 * 1024) -> None:
        """`size` bytes at most, `kept_free` of them for small requests: a few large ones must not shut out all others.

        While events are delivered, and echoed, they take up to seven times as much memory, and a pod has 200 MiB.
        """
        self.size = size
        self.kept_free = kept_free
        self.held = 0

    def take(self, size: int, *, small: bool) -> bool:
        """Take `size` bytes and return True; return False, and take none, where there is no room.

        `small`: they may be of those that are kept free.
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
        """How many bytes there are for what is not small."""
        return self.size - self.kept_free - self.held

    @property
    def full(self) -> str:
        """What a client is told when there is no room."""
        return f"of the {self.size} bytes that are held at once none is free; try again in a second"
