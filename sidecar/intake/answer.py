"""The answer to a producer: 201, 202, 207, 400, 500 or 503, as an object and as bytes.

Statuses, bodies and reason phrases follow EventGate's routes/events.js and lib/util.js.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import msgspec

from sidecar.errors import EmptyBody, Overloaded, RequestError
from sidecar.events.results import EventStatus, Outcome

MAX_URI = 2048
"""Characters of the request target repeated in an answer."""
MIXED = "mixed"
"""Outcome in the answer's header if the events of a request had different ones."""


class Answer(msgspec.Struct, frozen=True, cache_hash=True):
    """An HTTP answer to the producer; one without a body has no content type, as in EventGate."""

    status: int
    reason: str
    outcome: str
    """Value of the header `x-eventgate-sidecar`."""
    body: bytes = b""
    retry_after: int | None = None
    """Seconds."""


def merge(statuses: Sequence[EventStatus], routes: Sequence[str], hasty: bool) -> Answer:
    """Merge the statuses of a request's events, in request order, into one answer.

    `routes`: the route that took each event, empty if none did. `hasty`: the producer asked EventGate not to wait;
    success is then 202, as it is if some events are in the spool.
    """
    if len(statuses) == 1 and statuses[0].status == "success":
        return _lone_success(statuses[0], routes[0], hasty)
    invalid = [each.described for each in statuses if each.status == "invalid"]
    errors = [each.described for each in statuses if each.status == "error"]
    total, failures = len(statuses), len(invalid) + len(errors)
    outcome = _header(statuses, routes)
    received = hasty or any(each.outcome is Outcome.SPOOLED for each in statuses)
    if failures == 0:
        return _success(total, outcome, received)
    if len(invalid) == total:
        reason = f"{total} out of {total} events were invalid and not accepted."
        return Answer(400, reason, outcome, b'{"invalid":[%b]}' % b",".join(invalid))
    body = b'{"invalid":[%b],"error":[%b]}' % (b",".join(invalid), b",".join(errors))
    kinds = f"({len(invalid)} invalid and {len(errors)} errored)."
    if failures != total:
        done = "hastily received" if received else "accepted"
        reason = f"{total - failures} out of {total} events were {done}, but {failures} failed {kinds}"
        return Answer(207, reason, outcome, body)
    reason = f"{failures} out of {total} events had failures and were not accepted. {kinds}"
    if any(each.unreachable for each in statuses):
        return Answer(503, reason, outcome, body, retry_after=1)
    return Answer(500, reason, outcome, body)


@functools.lru_cache(maxsize=256)
def _lone_success(status: EventStatus, route: str, hasty: bool) -> Answer:
    """Return the answer to nearly every request, cached: there is one per upstream, endpoint and route."""
    return _success(1, _header([status], [route]), hasty or status.outcome is Outcome.SPOOLED)


def of_hand_over(events: int) -> Answer:
    """Return the answer to a hand-over of `events` events, all of them durable."""
    return Answer(202, f"{events} events hastily received.", f"{Outcome.SPOOLED}; events={events}")


def _success(total: int, outcome: str, received: bool) -> Answer:
    """Return the answer if nothing failed; `received`: some events are not accepted yet."""
    if received:
        return Answer(202, f"{total} events hastily received.", outcome)
    return Answer(201, f"All {total} out of {total} events were accepted.", outcome)


def _header(statuses: Iterable[EventStatus], routes: Sequence[str]) -> str:
    statuses = set(statuses)  # nearly always one
    outcomes = {each.outcome for each in statuses}
    words = [outcomes.pop() if len(outcomes) == 1 else MIXED]
    places = {
        "upstream": {each.upstream for each in statuses},
        "endpoint": {each.endpoint for each in statuses},
        "route": set(routes),
        "spool": {each.spool for each in statuses},
    }
    for name, values in places.items():
        named = sorted(value for value in values if value)
        if named:
            words.append(f"{name}={','.join(named)}")
    return "; ".join(words)


def of_error(error: RequestError, method: str, uri: str) -> Answer:
    """Return the answer to a refused request, in the shape of EventGate's errors.

    The shape is `{status, type, title, detail, method, uri}` (lib/util.js, setErrorHandler).
    """
    if isinstance(error, EmptyBody):
        return Answer(error.status, error.detail, Outcome.REFUSED)
    body = {
        "status": error.status,
        "type": error.kind,
        "title": error.title,
        "detail": error.detail,
        "method": method,
        "uri": uri if len(uri) <= MAX_URI else uri[:MAX_URI] + "…",
    }
    reason = {
        400: "Bad Request",
        403: "Forbidden",
        404: "Not Found",
        408: "Request Timeout",
        503: "Service Unavailable",
    }
    return Answer(
        error.status,
        reason.get(error.status, "Internal Server Error"),
        Outcome.REFUSED,
        msgspec.json.encode(body),
        1 if isinstance(error, Overloaded) else None,
    )


def headers_of(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return the headers of `answer`, with a content type, JSON, only if it has a body."""
    headers = [
        (b"x-eventgate-sidecar", answer.outcome.encode("latin-1", "replace")),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    if answer.body:
        headers.append((b"content-type", b"application/json; charset=utf-8"))
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after))
    return headers


def wire(answer: Answer, close: bool) -> bytes:
    """Serialise `answer`; `close`: the connection ends after it."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason.encode("latin-1", "replace"))]
    lines += [b"%b: %b\r\n" % header for header in headers_of(answer)]
    if close:
        lines.append(b"connection: close\r\n")
    return b"".join([*lines, b"\r\n", answer.body])


wire_without_body = functools.lru_cache(maxsize=256)(wire)
"""Cached, since nearly all answers are one of a few."""
