"""The order of events that belong together: a newer one never overtakes an older one.

Events of an upstream with the same order key belong together. The first of them goes out live; whoever comes
while an earlier one is not settled goes into the spool, behind it. That needs three facts about each key, and they
are all that is kept here:

1. which of its events are under way: taken, and neither settled nor in the spool yet;
2. how many of its events the spool holds;
3. and with that, whether a new one comes behind another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

Key = tuple[str, str]
"""An upstream's name, and the order key of an event for it."""


@dataclass(frozen=True, slots=True)
class Place:
    """An event's place in the order of arrival."""

    arrival: int
    key: Key | None = None
    behind: bool = False
    """An earlier event of its key is not settled yet: this one has to go into the spool."""


class Ordering:
    """Gives every event its place, and knows which keys are busy."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._last = 0
        self._under_way: dict[Key, set[int]] = {}
        self._spooled: Counter[Key] = Counter()

    def arrive(self, key: Key | None = None) -> Place:
        """Give an event its place; `settled` must be called for it in the end."""
        self._last += 1
        if key is None:
            return Place(self._last)
        place = Place(self._last, key, self.is_busy(key))
        self._under_way.setdefault(key, set()).add(place.arrival)
        return place

    def settled(self, place: Place) -> None:
        """Note that an event was delivered or refused, is in the spool, or was answered as failed."""
        if place.key is None:
            return
        arrivals = self._under_way.get(place.key, set())
        arrivals.discard(place.arrival)
        if not arrivals:
            self._under_way.pop(place.key, None)

    def is_busy(self, key: Key) -> bool:
        """Whether an event of this key is under way or in the spool."""
        return key in self._under_way or key in self._spooled

    def earliest(self) -> dict[Key, int]:
        """Return the first event under way of each key that has one: from the spool, none behind it may be sent."""
        return {key: min(arrivals) for key, arrivals in self._under_way.items()}

    # --- what the spool says ---

    def spooled(self, key: Key) -> None:
        """Note that an event of this key is in the spool now."""
        self._spooled[key] += 1

    def unspooled(self, key: Key) -> None:
        """Note that an event of this key left the spool: delivered, or a dead letter."""
        self._spooled[key] -= 1
        if self._spooled[key] <= 0:
            del self._spooled[key]

    def learn(self, spooled: Mapping[Key, int], last_arrival: int) -> None:
        """Take over what the spool holds, and number new events behind all that were ever in it."""
        self._spooled = Counter(spooled)
        self._last = max(self._last, last_arrival)
