"""A POST of events in progress, its limits, and the interface that takes it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

import httptools
import msgspec

from sidecar.errors import RequestError
from sidecar.intake.answer import Answer
from sidecar.intake.budget import ByteBudget

EVENTS_PATH = re.compile(r"/v1/events/?", re.IGNORECASE)
"""The path for events, in any case, as in Express."""


def query_of_events(method: bytes, target: bytes) -> bytes | None:
    """Return the query string of a POST of events; None for any other request."""
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


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of what the listener holds for a client, and of how long it waits."""

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
    headers: int = 100
    """Of one request; producers send ten."""
    pipelined: int = 16
    """Unanswered requests of one connection; no producer sends a second one before the first is answered."""
    asked_bytes: int = 1280 * 1024
    """Of all such requests that are not for events; `explain` takes an event of 1 MiB."""
    connections: int = 2048
    """At once; a new one replaces the one that has been idle longest."""


_NOTHING: dict[bytes, bytes] = {}
Write = Callable[[Answer, bool], None]
"""Writes an answer; the flag closes the connection after it."""


class Taker(Interface):
    """Takes POSTs of events; implemented by `intake.endpoint.EventsEndpoint`."""

    def begins(self, request: EventsRequest) -> None:
        """The headers of a request are complete."""

    def part(self, request: EventsRequest, chunk: bytes) -> None:
        """A part of the body has arrived."""

    def complete(self, request: EventsRequest) -> None:
        """The body is complete; called in request order, after the previous request was answered."""

    def too_slow(self, request: EventsRequest, seconds: float) -> None:
        """The body was not complete within `seconds`."""

    def gone(self, request: EventsRequest) -> None:
        """The client disconnected before `complete` was called."""


class EventsRequest(msgspec.Struct, eq=False):
    """A POST of events on a connection; stands in for uvicorn's request cycle."""

    write: Write
    """Takes its answer."""
    target: bytes
    """As in the request line."""
    query: bytes
    headers: dict[bytes, bytes]
    """Names in lower case; the first of duplicates counts, as in Node for those used here. Dropped once it is
    answered."""
    head_bytes: int
    """Size of request line and headers."""
    keep_alive: bool
    waits_for_100_continue: bool
    budget: ByteBudget
    """The budget of its client."""
    client: str = ""
    """The client's address."""
    waits_for_turn: bool = False
    """An earlier request of the connection is unanswered."""
    more_body: bool = True
    response_complete: bool = False
    taken: bool = False
    """Whether `Taker.complete` was called."""

    # Used by the taker only.

    collected: bytes | bytearray = b""
    """The body received so far."""
    received: int = 0
    held: int = 0
    refusal: RequestError | None = None
    complete_at: float = 0.0
    trace: Any = None
    """An `endpoint.RequestTrace`, if it is traced."""

    def answer(self, answer: Answer, *, close: bool = False) -> None:
        """Write the answer, unless the client disconnected; `close` ends the connection."""
        if self.response_complete:
            return
        self.response_complete = True
        self.headers = _NOTHING
        self.write(answer, close or not self.keep_alive)
