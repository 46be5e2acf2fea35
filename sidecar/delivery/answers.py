"""What EventGate said of each event of one load, over all attempts, and with which it met errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sidecar.events.outgoing import Load, Outgoing
from sidecar.events.results import EventStatus


class Answers:
    """The verdicts on one load; of an attempt that carried a part of it, too."""

    def __init__(self, load: Load) -> None:
        """Nothing is known yet."""
        self._load = load
        self._known: dict[int, EventStatus] = {}
        self._errors_with_others = True
        self.places: Sequence[int] = range(len(load.events))
        """The events that are still to be sent, by their places in the load."""

    def __bool__(self) -> bool:
        """Whether EventGate met an error with an event, so that there is more to be known than one answer says."""
        return bool(self._known)

    @property
    def part(self) -> Load:
        """The events that are still to be sent."""
        if len(self.places) == len(self._load.events):
            return self._load
        return msgspec.structs.replace(self._load, events=[self._load.events[place] for place in self.places])

    @property
    def cannot_be_told_apart(self) -> bool:
        """Whether EventGate met errors with some events, and which ones is unknown, since they have no ids."""
        return self._load.events[0].id is None and 0 < len(self.places) < len(self._load.events)

    def learn(self, places: Sequence[int], statuses: Sequence[EventStatus], *, errors_with_others: bool) -> None:
        """Keep what an attempt said of the events at `places`; an error never replaces anything else.

        `errors_with_others`: whether its endpoint has errors with other events, too, so that these are not to blame.
        """
        for place, status in zip(places, statuses, strict=True):
            before = self._known.get(place)
            if before is None or before.status == "error":
                self._known[place] = status
        self._errors_with_others &= errors_with_others
        self.places = [place for place in self.places if self._known[place].status == "error"]

    def statuses(self, unknown: Callable[[Outgoing], EventStatus] | None) -> list[EventStatus]:
        """Return the status of each event of the load.

        An event with which EventGate met an error may be sent again later where endpoints have errors with others, too.
        `unknown` says what is told of it where another attempt may have been accepted; None: none may.
        """
        return [self._status_of(place, event, unknown) for place, event in enumerate(self._load.events)]

    def _status_of(self, place: int, event: Outgoing, unknown: Callable[[Outgoing], EventStatus] | None) -> EventStatus:
        status = self._known[place]
        if status.status != "error":
            return status
        if unknown is not None:
            return unknown(event)
        return msgspec.structs.replace(status, may_be_sent_again=self._errors_with_others)
