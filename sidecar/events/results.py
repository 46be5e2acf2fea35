"""What became of each event, and the one answer made of it, in EventGate's words.

Statuses, bodies and reason phrases follow EventGate's routes/events.js. A failure keeps the bytes in which
EventGate described it; ours are described in the same shape.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec

from sidecar.errors import EmptyBody, Overloaded, RequestError


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


BUG = "the sidecar met an error of its own; its log has more"
"""What a producer is told of a mistake of ours."""

MIXED = "mixed"
"""In the header of an answer: not every event of the request ended alike."""

Status = Literal["success", "invalid", "error"]
Kind = TypeVar("Kind")


class EventStatus(msgspec.Struct, frozen=True):
    """What became of one event: EventGate's EventStatus, and where we sent it.

    Statuses are in the order of the events they are about; those that say the same may be one object.
    """

    status: Status
    outcome: Outcome
    described: bytes = b""
    """JSON object `{status, event, context}`; empty for a success."""
    unreachable: bool = False
    """An error because no endpoint could be reached: trying again later may help."""
    may_be_sent_again: bool = False
    """An error after which the same bytes may be sent later: the spool may take it."""
    upstream: str = ""
    endpoint: str = ""


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


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer to the producer; an empty body goes without a content type, as EventGate does it."""

    status: int
    reason: str
    outcome: str
    """Value of the header `x-eventgate-sidecar`."""
    body: bytes = b""
    retry_after: int | None = None
    """Seconds."""


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


def _described(status: Status, event: bytes, context: object) -> bytes:
    event = event.decode(errors="replace").encode()  # as Node reads bytes that are not UTF-8
    return b'{"status":"%b","event":%b,"context":%b}' % (status.encode(), event, msgspec.json.encode(context))


def merge(statuses: Sequence[EventStatus], routes: Sequence[str], hasty: bool, retry_after: int = 1) -> Answer:
    """Make one answer of the statuses of all events of a request, in the order of the request.

    `routes`: the route that took each event, empty where none did. `hasty`: the producer asked EventGate not to
    wait; all accepted is then 202, as it is where some are in the spool. `retry_after`: seconds to name where nothing
    was accepted because no endpoint could be reached.
    """
    if len(statuses) == 1 and statuses[0].status == "success":
        return _lone_success(statuses[0], routes[0], hasty)
    invalid = [each.described for each in statuses if each.status == "invalid"]
    errors = [each.described for each in statuses if each.status == "error"]
    total, failures = len(statuses), len(invalid) + len(errors)
    outcome = _header(statuses, routes)
    if failures == 0:
        return _success(total, outcome, hasty or any(each.outcome is Outcome.SPOOLED for each in statuses))
    if len(invalid) == total:
        reason = f"{total} out of {total} events were invalid and not accepted."
        return Answer(400, reason, outcome, b'{"invalid":[%b]}' % b",".join(invalid))
    body = b'{"invalid":[%b],"error":[%b]}' % (b",".join(invalid), b",".join(errors))
    kinds = f"({len(invalid)} invalid and {len(errors)} errored)."
    if failures != total:
        reason = f"{total - failures} out of {total} events were accepted, but {failures} failed {kinds}"
        return Answer(207, reason, outcome, body)
    reason = f"{failures} out of {total} events had failures and were not accepted. {kinds}"
    if any(each.unreachable for each in statuses):
        return Answer(503, reason, outcome, body, retry_after)
    return Answer(500, reason, outcome, body)


@functools.lru_cache(maxsize=256)
def _lone_success(status: EventStatus, route: str, hasty: bool) -> Answer:
    """Return the answer to nearly every request; there are as many as upstreams, endpoints and routes."""
    return _success(1, _header([status], [route]), hasty or status.outcome is Outcome.SPOOLED)


def _success(total: int, outcome: str, received: bool) -> Answer:
    """Return the answer where nothing failed; `received`: not all of it is accepted yet."""
    if received:
        return Answer(202, f"{total} events hastily received.", outcome)
    return Answer(201, f"All {total} out of {total} events were accepted.", outcome)


def _header(statuses: Sequence[EventStatus], routes: Sequence[str]) -> str:
    outcomes = {each.outcome for each in statuses}
    words = [outcomes.pop() if len(outcomes) == 1 else MIXED]
    places = {
        "upstream": {each.upstream for each in statuses},
        "endpoint": {each.endpoint for each in statuses},
        "route": set(routes),
    }
    for name, values in places.items():
        named = sorted(value for value in values if value)
        if named:
            words.append(f"{name}={','.join(named)}")
    return "; ".join(words)


def of_error(error: RequestError, method: str, uri: str) -> Answer:
    """Make the answer to a request that could not be taken as a whole, in the shape of EventGate's own errors.

    The shape is lib/util.js, setErrorHandler: `{status, type, title, detail, method, uri}`.
    """
    if isinstance(error, EmptyBody):
        return Answer(error.status, error.detail, Outcome.REFUSED)
    body = {
        "status": error.status,
        "type": error.kind,
        "title": error.title,
        "detail": error.detail,
        "method": method,
        "uri": uri,
    }
    reason = {400: "Bad Request", 404: "Not Found", 408: "Request Timeout", 503: "Service Unavailable"}
    return Answer(
        error.status,
        reason.get(error.status, "Internal Server Error"),
        Outcome.REFUSED,
        msgspec.json.encode(body),
        1 if isinstance(error, Overloaded) else None,
    )
