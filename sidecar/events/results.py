"""The status of each event, in EventGate's terms.

Statuses follow EventGate's routes/events.js. A failure keeps EventGate's description byte for byte; the sidecar's own
have the same shape.
"""

from __future__ import annotations

import codecs
import enum
import functools
from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec


class Outcome(enum.StrEnum):
    """What became of an event. For every stream, received = the sum of these."""

    DELIVERED = "delivered"
    """EventGate accepted it."""
    INVALID = "invalid"
    """EventGate called it invalid."""
    REFUSED = "refused"
    """The sidecar refused it: no route, a route that rejects, or an upstream that does not accept it."""
    SPOOLED = "spooled"
    """It is durable in the spool, and is sent later."""
    FAILED = "failed"
    """EventGate returned an error for it, or no endpoint could be reached."""


BUG = "the sidecar had an internal error; its log has more"
"""What a producer is told about a bug of the sidecar."""

PIECE_BYTES = 64 * 1024
StatusWord = Literal["success", "invalid", "error"]
Kind = TypeVar("Kind")


class EventStatus(msgspec.Struct, frozen=True, cache_hash=True):
    """EventGate's EventStatus of one event, and where it was sent.

    Lists of statuses are in the order of their events; equal ones may share an object.
    """

    status: StatusWord
    outcome: Outcome
    described: bytes = b""
    """JSON object `{status, event, context}`; empty for a success."""
    unreachable: bool = False
    """No endpoint could be reached: trying again later may help."""
    may_be_sent_again: bool = False
    """The same bytes may be sent later: the spool may take the event."""
    upstream: str = ""
    endpoint: str = ""
    spool: str = ""
    """Why the spool could not take it: `full` or `broken`."""


SUCCESS = EventStatus("success", Outcome.DELIVERED)
"""EventGate accepted it; the endpoint is added by `placed`."""


class _Described(msgspec.Struct):
    context: msgspec.Raw


def context_of(status: EventStatus, kind: type[Kind]) -> Kind | None:
    """Decode the context of an event that was not accepted as `kind`; None if it does not fit."""
    try:
        context = msgspec.json.decode(status.described, type=_Described).context
        return msgspec.json.decode(context, type=kind)
    except (ValueError, RecursionError):
        return None


def placed(statuses: Sequence[EventStatus], upstream: str, endpoint: str) -> list[EventStatus]:
    """Add upstream and endpoint to the statuses."""
    success = _success_at(upstream, endpoint)
    return [
        success if each is SUCCESS else msgspec.structs.replace(each, upstream=upstream, endpoint=endpoint)
        for each in statuses
    ]


@functools.lru_cache(maxsize=256)
def _success_at(upstream: str, endpoint: str) -> EventStatus:
    return msgspec.structs.replace(SUCCESS, upstream=upstream, endpoint=endpoint)


def refused(event: bytes, message: str, route: str) -> EventStatus:
    """Return the status of an event that the sidecar refuses, as a validation error."""
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
    """Return the status of an event that could not be delivered, as an EventGate error."""
    described = _described("error", event, {"message": message})
    return EventStatus("error", Outcome.FAILED, described, unreachable)


def _described(status: StatusWord, event: bytes, context: object) -> bytes:
    return b'{"status":"%b","event":%b,"context":%b}' % (status.encode(), _utf8(event), msgspec.json.encode(context))


def _utf8(event: bytes) -> bytes:
    """Decode the event as Node does (U+FFFD for bad UTF-8); in pieces, since a `str` can take four times as much."""
    if event.isascii():
        return event
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    starts = range(0, len(event), PIECE_BYTES)
    return b"".join(
        [decoder.decode(event[at : at + PIECE_BYTES], at + PIECE_BYTES >= len(event)).encode() for at in starts]
    )
