"""A POST of events on its way from its connection to who takes it, and how long that may last."""

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
    headers: int = 100
    """Of one request; producers send ten."""
    pipelined: int = 16
    """Requests of one connection that are not answered; no producer sends a second one before the first is answered."""
    asked_bytes: int = 1280 * 1024
    """Of such requests, together, where they are not of events; `explain` takes an event of 1 MiB."""
    connections: int = 2048
    """At once; the one that has been idle longest makes room for a new one."""


_NOTHING: dict[bytes, bytes] = {}
Write = Callable[[Answer, bool], None]
"""Writes an answer; the flag says that nothing follows it on its connection."""


class Taker(Interface):
    """Who takes the events that are POSTed; `intake.endpoint.EventsEndpoint` is one."""

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


class EventsRequest(msgspec.Struct, eq=False):
    """A POST of events on its way through a connection, where uvicorn has a cycle of its own."""

    write: Write
    """Takes its answer."""
    target: bytes
    """As the request line has it."""
    query: bytes
    headers: dict[bytes, bytes]
    """Names in lower case; of a repeated one the first counts, as Node has it for those that we read. None are kept
    once it is answered."""
    head_bytes: int
    """Of its request line and headers."""
    keep_alive: bool
    waits_for_100_continue: bool
    waits_for_turn: bool = False
    """An earlier request of the connection is not answered."""
    more_body: bool = True
    response_complete: bool = False
    taken: bool = False
    """Whether its taker was told that it is complete."""

    # What follows is its taker's alone.

    collected: bytes | bytearray = b""
    """Its body, as far as it has come."""
    received: int = 0
    held: int = 0
    refusal: RequestError | None = None
    complete_at: float = 0.0
    trace: Any = None
    """Follows it, where traces are made: an `endpoint.RequestTrace`."""

    def answer(self, answer: Answer, *, close: bool = False) -> None:
        """Write the answer, unless the client has gone; `close` ends the connection."""
        if self.response_complete:
            return
        self.response_complete = True
        self.headers = _NOTHING
        self.write(answer, close or not self.keep_alive)
