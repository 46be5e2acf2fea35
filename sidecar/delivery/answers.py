"""Collects the status of each event of a load over all attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sidecar.events.outgoing import Load, Outgoing
from sidecar.events.results import EventStatus


class Answers:
    """The statuses of one load; an attempt may cover only a part of it."""

    def __init__(self, load: Load) -> None:
        """Start without any status."""
        self._load = load
        self._known: dict[int, EventStatus] = {}
        self._errors_with_others = True
        self.places: Sequence[int] = range(len(load.events))
        """Indexes of the events still to be sent."""

    @property
    def part(self) -> Load:
        """The events still to be sent."""
        if len(self.places) == len(self._load.events):
            return self._load
        return msgspec.structs.replace(self._load, events=[self._load.events[place] for place in self.places])

    @property
    def cannot_be_told_apart(self) -> bool:
        """Whether EventGate returned errors for some events, but for which is unknown, since they have no ids."""
        return self._load.events[0].id is None and len(self.places) < len(self._load.events)

    def takes_more(self, places: Sequence[int], statuses: Sequence[EventStatus]) -> bool:
        """Whether an attempt took an event for which earlier attempts returned an error."""
        left = zip(places, statuses, strict=True)
        return any(status.status == "success" for place, status in left if place in self.places)

    def learn(self, places: Sequence[int], statuses: Sequence[EventStatus], *, errors_with_others: bool) -> None:
        """Add the statuses of the events at `places` from an attempt; an error never replaces another status.

        `errors_with_others`: whether the endpoint returns errors for other events too, so that these are not to blame.
        """
        for place, status in zip(places, statuses, strict=True):
            before = self._known.get(place)
            if before is None or before.status == "error":
                self._known[place] = status
        self._errors_with_others &= errors_with_others
        self.places = [place for place in self.places if self._known[place].status == "error"]

    def statuses(self, unknown: Callable[[Outgoing], EventStatus] | None) -> list[EventStatus]:
        """Return the status of each event of the load.

        An event with an error may be sent again later if the endpoints return errors for others too. `unknown` returns
        the status of an event with an error that another attempt may have delivered; None: there is no such attempt.
        """
        return [self._status_of(place, event, unknown) for place, event in enumerate(self._load.events)]

    def _status_of(self, place: int, event: Outgoing, unknown: Callable[[Outgoing], EventStatus] | None) -> EventStatus:
        status = self._known[place]
        if status.status != "error":
            return status
        if unknown is not None:
            return unknown(event)
        return msgspec.structs.replace(status, may_be_sent_again=self._errors_with_others)
