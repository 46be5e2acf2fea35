"""Keeps events of one order key in order.

The first event of a key is sent live; one that arrives while an earlier one is not settled goes into the spool, behind
it. That takes three facts about each key:

1. whether its first event is in flight, which means it was not behind another, and is neither settled nor stored yet;
2. how many of its events may be in a transaction that has not ended, whatever their producers were told;
3. whether the file has events with this key. Until the file has been read, every key is busy.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

Key = int
"""A hash of upstream and order key, see `key_of`."""


def key_of(upstream: str, order_key: str) -> Key:
    """Hash an order key of an upstream to 63 bits."""
    digest = hashlib.blake2b(f"{upstream}\0{order_key}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Ordering:
    """Tracks which keys are busy."""

    def __init__(self) -> None:
        """Start without knowing the file, so all keys are busy."""
        self._known = False
        self._first: set[Key] = set()
        self._storing: Counter[Key] = Counter()
        self._stored: set[Key] = set()

    def arrive(self, key: Key | None) -> bool:
        """Return whether an event must wait behind another with its key; if not, `settled` must be called for it."""
        if key is None:
            return False
        if self.is_busy(key):
            return True
        self._first.add(key)
        return False

    def settled(self, key: Key | None) -> None:
        """Record that the first event of a key was delivered, refused, stored, or answered as failed."""
        if key is not None:
            self._first.discard(key)

    def is_busy(self, key: Key) -> bool:
        """Whether an event with this key is in flight, may be being written, or is in the spool."""
        return not self._known or key in self._first or key in self._storing or key in self._stored

    def held_back(self) -> frozenset[Key]:
        """Return the keys whose first event is in flight; the spool's events with these keys are newer."""
        return frozenset(self._first)

    # --- called by the spool ---

    def storing(self, keys: Iterable[Key]) -> None:
        """Record that events with these keys are about to be written."""
        self._storing.update(keys)

    def wrote(self, keys: Iterable[Key], *, stored: bool) -> None:
        """Record that the transaction with these keys has ended, and whether the events are stored."""
        for key in keys:
            self._storing[key] -= 1
            if not self._storing[key]:
                del self._storing[key]
            if stored:
                self._stored.add(key)

    def freed(self, key: Key) -> None:
        """Record that the spool has no more events with this key."""
        self._stored.discard(key)

    def learn(self, stored: Iterable[Key]) -> None:
        """Set the keys in the file."""
        self._known = True
        self._stored = set(stored)
