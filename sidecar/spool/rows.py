"""A row of the spool's file, and the event that it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sidecar.spool.record import Headers, Spooled
from sidecar.spool.schema import checksum_of

COLUMNS = (
    "arrival, upstream, stream, event_id, lacks_request_id, hasty, order_key, first_seen, attempts, errors, "
    "last_attempt, last_error, due, size, headers, body, checksum"
)
"""Of an event, in both tables."""


def row_of(event: Spooled) -> tuple[Any, ...]:
    """Return the values of `COLUMNS`."""
    headers = msgspec.json.encode(event.headers).decode()
    checksum = checksum_of(event.upstream, event.stream, event.id, event.order_key, headers, event.body)
    return (
        *(event.arrival, event.upstream, event.stream, event.id, event.lacks_request_id, event.hasty),
        *(event.order_key, event.first_seen, event.attempts, event.errors, event.last_attempt, event.last_error),
        *(event.due, event.size, headers, event.body, checksum),
    )


def is_sound(row: Sequence[Any]) -> bool:
    """Whether the checksum of a row that begins with `COLUMNS` fits; one of version 1 has none."""
    _, upstream, stream, event_id, _, _, key, *_ = row
    headers, body, checksum = row[14:17]
    return isinstance(body, bytes) and checksum in (None, checksum_of(upstream, stream, event_id, key, headers, body))


def event_of(row: Sequence[Any]) -> Spooled:
    """Make an event of a row that begins with `COLUMNS`."""
    arrival, upstream, stream, event_id, lacks, hasty, key, first_seen, attempts, errors, last_attempt, *more = row[:16]
    last_error, due, _, headers, body = more
    return Spooled(
        arrival=arrival,
        upstream=upstream,
        stream=stream,
        body=body if isinstance(body, bytes) else str(body).encode(),
        id=event_id,
        lacks_request_id=bool(lacks),
        hasty=bool(hasty),
        headers=_headers(headers),
        order_key=key,
        first_seen=first_seen,
        attempts=attempts,
        errors=errors,
        last_attempt=last_attempt,
        last_error=last_error,
        due=due,
    )


def _headers(text: str) -> Headers:
    try:
        return msgspec.json.decode(text, type=Headers)
    except ValueError:  # damaged; its checksum says so
        return ()


def lenient_text(data: bytes) -> str:
    """Read text that may be damaged; its checksum says so."""
    return data.decode(errors="replace")
