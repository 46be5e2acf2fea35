"""What became of each event, in EventGate's words.

Statuses follow EventGate's routes/events.js. A failure keeps the bytes in which EventGate described it; ours are
described in the same shape.
"""

from __future__ import annotations

import codecs
import enum
import functools
from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec


class Outcome(enum.StrEnum):
    """Where an event ended. For every stream, received = the sum of these."""

    DELIVERED = "delivered"
    """EventGate accepted it."""
    INVALID = "invalid"
    """EventGate called it invalid."""
    REFUSED = "refused"
    """The sidecar did: no route, a route that rejects, or an upstream that does not accept it."""
    SPOOLED = "spooled"
    """It is in the spool, durable, and is sent later."""
    FAILED = "failed"
    """EventGate met an error with it, or no endpoint could be reached."""


BUG = "the sidecar had an internal error; its log has more"
"""What a producer is told of a mistake of ours."""

PIECE_BYTES = 64 * 1024
StatusWord = Literal["success", "invalid", "error"]
Kind = TypeVar("Kind")


class EventStatus(msgspec.Struct, frozen=True):
    """What became of one event: EventGate's EventStatus, and where we sent it.

    Statuses are in the order of the events they are about; those that say the same may be one object.
    """

    status: StatusWord
    outcome: Outcome
    described: bytes = b""
    """JSON object `{status, event, context}`; empty for a success."""
    unreachable: bool = False
    """An error because no endpoint could be reached: trying again later may help."""
    may_be_sent_again: bool = False
    """An error after which the same bytes may be sent later: the spool may take it."""
    upstream: str = ""
    endpoint: str = ""
    spool: str = ""
    """Why the spool, where it was needed, did not take it: `full` or `broken`."""


SUCCESS = EventStatus("success", Outcome.DELIVERED)
"""EventGate accepted it; where, is not said yet."""


class _Described(msgspec.Struct):
    context: msgspec.Raw


def context_of(status: EventStatus, kind: type[Kind]) -> Kind | None:
    """Return what was said of an event that was not accepted, as far as `kind` reads it; None where it cannot."""
    try:
        context = msgspec.json.decode(status.described, type=_Described).context
        return msgspec.json.decode(context, type=kind)
    except (ValueError, RecursionError):
        return None


def placed(statuses: Sequence[EventStatus], upstream: str, endpoint: str) -> list[EventStatus]:
    """Return the statuses with the place they are from."""
    success = _success_at(upstream, endpoint)
    return [
        success if each is SUCCESS else msgspec.structs.replace(each, upstream=upstream, endpoint=endpoint)
        for each in statuses
    ]


@functools.lru_cache(maxsize=256)
def _success_at(upstream: str, endpoint: str) -> EventStatus:
    return msgspec.structs.replace(SUCCESS, upstream=upstream, endpoint=endpoint)


def refused(event: bytes, message: str, route: str) -> EventStatus:
    """Return the status of an event that the sidecar itself does not let through, as a validation error."""
    context = {
        "errors": [
            {
                "keyword": "route",
                "dataPath": ".meta.stream",
                "schemaPath": "routes.yaml",
                "params": {"route": route},
                "message": message,
            }
        ],
        "errorsText": f"'.meta.stream' {message}",
    }
    return EventStatus("invalid", Outcome.REFUSED, _described("invalid", event, context))


def failed(event: bytes, message: str, unreachable: bool) -> EventStatus:
    """Return the status of an event that could not be delivered, as an error of EventGate's."""
    described = _described("error", event, {"message": message})
    return EventStatus("error", Outcome.FAILED, described, unreachable)


def _described(status: StatusWord, event: bytes, context: object) -> bytes:
    return b'{"status":"%b","event":%b,"context":%b}' % (status.encode(), _utf8(event), msgspec.json.encode(context))


def _utf8(event: bytes) -> bytes:
    """Return the event as Node reads bytes that are not UTF-8; in pieces, as a text takes up to four times as much."""
    if event.isascii():
        return event
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    starts = range(0, len(event), PIECE_BYTES)
    return b"".join(
        [decoder.decode(event[at : at + PIECE_BYTES], at + PIECE_BYTES >= len(event)).encode() for at in starts]
    )
