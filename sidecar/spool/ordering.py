"""The order of events that belong together: a newer one never overtakes an older one.

Events of an upstream with the same order key belong together. The first of them goes out live; whoever comes while an
earlier one is not settled goes into the spool, behind it. That needs three facts about each key, and they are all that
is kept here:

1. whether its first event is under way: taken, not behind another, and neither settled nor stored yet;
2. how many of its events may be in a transaction that has not ended, whatever their producers were told meanwhile;
3. whether the file holds events with this key. Until the file was read that is not known, and every key is busy.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

Key = int
"""An upstream and an order key, as `key_of` has them."""


def key_of(upstream: str, order_key: str) -> Key:
    """Return the number by which an order key of an upstream is known: 63 bits of a hash, however long the key is."""
    digest = hashlib.blake2b(f"{upstream}\0{order_key}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Ordering:
    """Knows which keys are busy."""

    def __init__(self) -> None:
        """Nothing has come, and nothing is known of what the file holds."""
        self._known = False
        self._first: set[Key] = set()
        self._storing: Counter[Key] = Counter()
        self._stored: set[Key] = set()

    def arrive(self, key: Key | None) -> bool:
        """Return whether an event comes behind another with its key; if not, `settled` must be called in the end."""
        if key is None:
            return False
        if self.is_busy(key):
            return True
        self._first.add(key)
        return False

    def settled(self, key: Key | None) -> None:
        """Note that the first event of a key was delivered or refused, is stored, or was answered as failed."""
        if key is not None:
            self._first.discard(key)

    def is_busy(self, key: Key) -> bool:
        """Whether an event with this key is under way, may be on its way to the disk, or is in the spool."""
        return not self._known or key in self._first or key in self._storing or key in self._stored

    def held_back(self) -> frozenset[Key]:
        """Return the keys whose first event is under way: all that the spool has of them is newer."""
        return frozenset(self._first)

    # --- what the spool says ---

    def storing(self, keys: Iterable[Key]) -> None:
        """Note that events with these keys are about to be written."""
        self._storing.update(keys)

    def wrote(self, keys: Iterable[Key], *, stored: bool) -> None:
        """Note that the transaction of these has ended, and whether they are in the spool now."""
        for key in keys:
            self._storing[key] -= 1
            if not self._storing[key]:
                del self._storing[key]
            if stored:
                self._stored.add(key)

    def freed(self, key: Key) -> None:
        """Note that the spool holds no event with this key any more."""
        self._stored.discard(key)

    def learn(self, stored: Iterable[Key]) -> None:
        """Take over what the file holds."""
        self._known = True
        self._stored = set(stored)
