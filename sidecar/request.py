"""A POST of events on its way from its connection to who takes it, and its answer as bytes."""

from __future__ import annotations

import functools
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol as Interface

import httptools

from sidecar.errors import RequestError
from sidecar.results import Answer

EVENTS_PATH = re.compile(r"/v1/events/?", re.IGNORECASE)
"""Where events are POSTed; its case does not matter, as Express has it."""


def query_of_events(method: bytes, target: bytes) -> bytes | None:
    """Return the query of a POST of events; None for any other request."""
    if method != b"POST":
        return None
    if target == b"/v1/events":
        return b""
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return None
    path = urllib.parse.unquote((url.path or b"").decode("latin-1"))
    return (url.query or b"") if EVENTS_PATH.fullmatch(path) else None


def headers_of(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return the headers of `answer`; a body is JSON, and without one there is no content type."""
    headers = [
        (b"x-eventgate-sidecar", answer.outcome.encode("latin-1", "replace")),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    if answer.body:
        headers.append((b"content-type", b"application/json; charset=utf-8"))
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after))
    return headers


def wire(answer: Answer, *, close: bool) -> bytes:
    """Return `answer` as it goes over the wire; `close` says that nothing follows it."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason.encode("latin-1", "replace"))]
    lines += [b"%b: %b\r\n" % header for header in headers_of(answer)]
    if close:
        lines.append(b"connection: close\r\n")
    return b"".join([*lines, b"\r\n", answer.body])


wire_without_body = functools.lru_cache(maxsize=256)(wire)
"""Nearly all answers say one of a few things."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, and for how much, the listener waits for a client."""

    header_seconds: float = 5.0
    """From the first byte of a request to the end of its headers; a client in the same pod needs none of it."""
    body_seconds: float = 5.0
    """From there to the end of its events; producers give up after 5 s themselves."""
    keep_alive_seconds: float = 90.0
    """For the next request. aiohttp reuses an idle connection for 15 s, and never repeats a POST on one that we
    closed just then."""
    unread_seconds: float = 5.0
    """For an answer that the client leaves unread; then the connection is cut."""
    header_bytes: int = 64 * 1024
    """Request line and headers together; EventGate (Node) takes 16 kB."""
    connections: int = 2048
    """At once; the one that has been idle longest makes room for a new one."""


Write = Callable[[Answer, bool], None]
"""Writes an answer; the flag says that nothing follows it on its connection."""


class Taker(Interface):
    """Who takes the events that are POSTed; `app.EventsEndpoint` is one."""

    def begins(self, request: EventsRequest) -> None:
        """Take note of a request whose headers are there."""

    def part(self, request: EventsRequest, chunk: bytes) -> None:
        """Take a part of its body."""

    def complete(self, request: EventsRequest) -> None:
        """Take its end; called in the order of the requests of a connection, each once the one before is answered."""

    def too_slow(self, request: EventsRequest, seconds: float) -> None:
        """Take note that its body was not complete within `seconds`."""

    def gone(self, request: EventsRequest) -> None:
        """Take note that its client went away before it was complete, or before its turn came."""

    def unread(self, size: int) -> None:
        """Take note that a client leaves `size` more bytes of its answers unread; fewer where it is below 0."""


class EventsRequest:
    """A POST of events on its way through a connection, where uvicorn has a cycle of its own.

    What its taker holds of it (`chunks`, `received`, `held`, `refusal`, `complete_at`) is the taker's alone.
    """

    __slots__ = (
        "_write",
        "chunks",
        "complete_at",
        "headers",
        "held",
        "keep_alive",
        "more_body",
        "query",
        "received",
        "refusal",
        "response_complete",
        "taken",
        "target",
        "waits_for_100_continue",
        "waits_for_turn",
    )

    def __init__(
        self,
        write: Write,
        target: bytes,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
        expects_100_continue: bool,
    ) -> None:
        """`write` takes its answer; `target` is as the request line has it, `headers` have lower-case names."""
        self._write = write
        self.target = target
        self.query = query
        self.headers = headers
        self.keep_alive = keep_alive
        self.more_body = True
        self.response_complete = False
        self.waits_for_turn = False
        """An earlier request of the connection is not answered."""
        self.waits_for_100_continue = expects_100_continue
        self.taken = False
        """Whether its taker was told that it is complete."""
        self.chunks: list[bytes] = []
        self.received = 0
        self.held = 0
        self.refusal: RequestError | None = None
        self.complete_at = 0.0

    def answer(self, answer: Answer, *, close: bool = False) -> None:
        """Write the answer, unless the client has gone; `close` ends the connection."""
        if self.response_complete:
            return
        self.response_complete = True
        self._write(answer, close or not self.keep_alive)
