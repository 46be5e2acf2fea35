"""Whether the same events may be sent once more, and what their producers are told where none of it helped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Outgoing
from sidecar.events.results import EventStatus, failed

MAX_ATTEMPTS = 2
"""How often the events of one request may be sent; what was never sent does not count."""


def may_try_again(failed: Failed, attempts_sent: int, on_ambiguous: Literal["resend", "spool", "fail"]) -> bool:
    """Whether the same bytes may go out once more, after `attempts_sent` attempts that reached an endpoint."""
    if failed.failure is FailureClass.NEVER_SENT:
        return True
    if failed.failure is FailureClass.REFUSED:
        return False
    if failed.failure is FailureClass.AMBIGUOUS and on_ambiguous != "resend":
        return False
    return attempts_sent < MAX_ATTEMPTS


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
