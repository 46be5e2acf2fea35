"""Decides whether events may be sent again, and what their producers are told if all attempts fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Outgoing
from sidecar.events.results import EventStatus, failed

MAX_ATTEMPTS = 2
"""How often the events of a request may be sent; attempts that sent nothing do not count."""


def may_try_again(failed: Failed, attempts_sent: int, on_ambiguous: Literal["resend", "spool", "fail"]) -> bool:
    """Whether the same bytes may be sent again, after `attempts_sent` attempts that reached an endpoint."""
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
    """The one that `message` is about; empty if none was tried."""
    failure: FailureClass
    message: str
    give_up: float
    """The deadline for further attempts, in seconds of the clock."""
    may_be_sent_again: bool = False
    """Whether the same events may be sent later: the spool may take them."""

    def status_of(self, event: Outgoing) -> EventStatus:
        """Return the status of one of the events."""
        unreachable = self.failure is not FailureClass.REFUSED
        status = failed(event.body, self.message, unreachable)
        return msgspec.structs.replace(
            status, upstream=self.upstream, endpoint=self.endpoint, may_be_sent_again=self.may_be_sent_again
        )
