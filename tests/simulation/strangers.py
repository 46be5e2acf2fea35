"""Clients with unusual HTTP, and the answers that each must get."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.clocks import CLOCKS
from tests.simulation.ledger import Event, Ledger, Request
from tests.simulation.loop import SimLoop
from tests.simulation.network import End

OFFER = b"Connection: upgrade\r\nUpgrade: h2c\r\n"


@dataclass
class Stranger:
    """One connection of such a client."""

    what: str
    began: float
    requests: int
    """Number of requests that it sends completely, or as completely as they get."""
    life: int
    event: Event | None = None
    got: bytearray = field(default_factory=bytearray)
    answered: float | None = None
    """When its first answer came."""
    closed: float | None = None
    """When the sidecar closed the connection."""

    @property
    def statuses(self) -> list[int]:
        """Return the statuses of its answers, without 1xx."""
        return [int(each) for each in re.findall(rb"HTTP/1\.1 ([2-5]\d\d)", bytes(self.got))]

    # --- events of the network ---

    def data(self, data: bytes) -> None:
        """Store the bytes."""
        self.got += data
        self.answered = self.answered or CLOCKS.now

    def eof(self) -> None:
        """Record the end."""
        self.closed = self.closed or CLOCKS.now

    def lost(self, _: OSError | None) -> None:
        """Record the end."""
        self.closed = self.closed or CLOCKS.now

    def writable(self) -> None:
        """Do nothing."""


def send(loop: SimLoop, ledger: Ledger, end: End, act: dict[str, Any], life: int) -> Stranger:
    """Run such a client; the sidecar has 3 s to close the connection."""
    what, target, count = act["what"], act["target"], act["count"]
    stranger = Stranger(what, CLOCKS.now, 1, life)
    end.reader = stranger
    post = f"POST {target} HTTP/1.1\r\n".encode()
    kind = b"Host: a\r\nContent-Type: application/json\r\n"
    if what == "offers":
        stranger.requests = count
        end.write((post + kind + OFFER + b"Content-Length: 0\r\n\r\n") * count)
        loop.happens(1.0, None, end.reset)
    elif what == "bad chunk":
        end.write(post + kind + b"Transfer-Encoding: chunked\r\n\r\n")
        loop.happens(0.3, None, end.write, b"Z\r\n")
    elif what == "half a request":
        end.write((post + kind)[: 10 + count % 60])
    else:
        stranger.event, body = _event(ledger, life)
        first = b"POST /v1/events HTTP/1.1\r\n" + (kind if what != "no host" else kind[len(b"Host: a\r\n") :])
        offer = b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n" if what == "upgrade and close" else b""
        end.write(first + offer + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    loop.happens(8.0, None, end.reset)
    return stranger


def _event(ledger: Ledger, life: int) -> tuple[Event, bytes]:
    request = Request(-1, [], False, CLOCKS.now, life)
    event = Event(len(ledger.events) + 1, "scores.v1", "good", None, request)
    request.events.append(event)
    ledger.events[event.number] = event
    meta = {"stream": event.stream, "dt": "2026-01-01T00:00:00Z"}
    return event, json.dumps({"$schema": "/sim/event/1.0.0", "meta": meta, "sim": {"n": event.number}}).encode()
