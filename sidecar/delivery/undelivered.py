"""That the events of one array were not delivered, and what their producers are told of it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from sidecar.delivery.retry import FailureClass
from sidecar.events.event import Outgoing
from sidecar.events.results import EventStatus, failed


@dataclass(frozen=True, slots=True)
class Undelivered:
    """No endpoint gave a verdict on the events of one array."""

    upstream: str
    endpoint: str
    """The one that `message` is about; empty where none was tried."""
    failure: FailureClass
    message: str
    give_up: float
    """Until when another attempt would still be in time, in seconds of the clock."""
    may_be_sent_again: bool = False
    """Whether the same events may be sent later: the spool may take them."""

    def status_of(self, event: Outgoing) -> EventStatus:
        """Return the status of one of the events."""
        unreachable = self.failure is not FailureClass.REFUSED
        status = failed(event.body, self.message, unreachable)
        return msgspec.structs.replace(
            status, upstream=self.upstream, endpoint=self.endpoint, may_be_sent_again=self.may_be_sent_again
        )
