"""EventGate's answers, word for word: status, reason phrase, content type and body for each outcome."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.demo.emulator import bodyparser


@dataclass(frozen=True)
class EmulatedAnswer:
    """One complete answer; without a `content_type` there is no body."""

    status: int
    reason: str
    content_type: str | None = None
    body: bytes = b""


_JSON = "application/json; charset=utf-8"
_INFO = {
    "name": "eventgate",
    "version": "1.8.4",
    "description": "Event intake service - POST JSONSchemaed events, validate, and produce.",
    "home": "https://github.com/wikimedia/eventgate",
}
_EMPTY = "Request body was empty. Must provide JSON encoded events."
_NOT_FOUND = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Error</title>
</head>
<body>
<pre>{}</pre>
</body>
</html>
"""


PROXY = {
    "unavailable": EmulatedAnswer(503, "Service Unavailable", "text/plain", b"no healthy upstream"),
    "unrouted": EmulatedAnswer(404, "Not Found"),
}
"""A proxy's answers in EventGate's place, by fault mode."""


def empty() -> EmulatedAnswer:
    """The answer to a body that is empty, or of a type that EventGate does not read."""
    return EmulatedAnswer(400, _EMPTY)


def info() -> EmulatedAnswer:
    """The answer to `GET /_info`, which operators use as a health check."""
    return EmulatedAnswer(200, "OK", _JSON, bodyparser.stringify(_INFO))


def not_found(method: str, path: str) -> EmulatedAnswer:
    """Express's page for an unknown path."""
    page = _NOT_FOUND.format(html.escape(f"Cannot {method} {path}")).encode()
    return EmulatedAnswer(404, "Not Found", "text/html; charset=utf-8", page)


def verdict(total: int, invalid: list[dict[str, Any]], error: list[dict[str, Any]]) -> EmulatedAnswer:
    """The answer to a POST of events (EventGate routes/events.js)."""
    failed = len(invalid) + len(error)
    counts = f"({len(invalid)} invalid and {len(error)} errored)."
    if not failed:
        return EmulatedAnswer(201, f"All {total} out of {total} events were accepted.")
    if len(invalid) == total:
        reason = f"{total} out of {total} events were invalid and not accepted."
        return EmulatedAnswer(400, reason, _JSON, bodyparser.stringify({"invalid": invalid}))
    body = bodyparser.stringify({"invalid": invalid, "error": error})
    if failed < total:
        accepted = f"{total - failed} out of {total} events were accepted"
        return EmulatedAnswer(207, f"{accepted}, but {failed} failed {counts}", _JSON, body)
    return EmulatedAnswer(
        500, f"{failed} out of {total} events had failures and were not accepted. {counts}", _JSON, body
    )


def refusal(error: bodyparser.BodyError, method: str, uri: str) -> EmulatedAnswer:
    """The answer to a body that cannot be parsed, always a 500 (EventGate lib/util.js)."""
    body = {"status": 500, "type": "internal_error", "title": error.title, "detail": error.detail}
    return EmulatedAnswer(
        500, "Internal Server Error", _JSON, bodyparser.stringify({**body, "method": method, "uri": uri})
    )


def misplaced(uri: str, title: str, stream: str, streams: Mapping[str, str]) -> str | None:
    """Why events of this schema are not allowed in this stream, or None."""
    if streams.get(stream) == title:
        return None
    event = f"Event of schema at {uri} destined to stream {stream} is not allowed in stream"
    if stream not in streams:
        return f"{event}; {stream} is not configured."
    return f"{event}; its schema title is '{title}', but the stream only takes '{streams[stream]}'."
