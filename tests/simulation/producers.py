"""Producers: model servers that post as aiohttp does, and some badly behaved ones."""

from __future__ import annotations

import json
import random
from typing import Any

import httptools

from tests.simulation.clocks import CLOCKS
from tests.simulation.ledger import OTHER, Event, Ledger, Request
from tests.simulation.loop import Handle, SimLoop
from tests.simulation.machines import Network
from tests.simulation.network import End, Place

TIMEOUT = 5.0
"""Seconds until a model server gives up."""


class Producers:
    """All producers; they share connections."""

    def __init__(self, loop: SimLoop, network: Network, ledger: Ledger, place: Place, seed: str) -> None:
        """`place`: where the sidecar listens."""
        self.loop, self.network, self.ledger, self.place = loop, network, ledger, place
        self.idle: list[Call] = []
        self.life = 0
        self._chance = random.Random(f"{seed}/producers")

    def post(self, act: dict[str, Any]) -> Request:
        """Post the events of `act`, as it says."""
        ledger = self.ledger
        request = Request(len(ledger.requests), [], bool(act.get("hasty")), CLOCKS.now, self.life)
        ledger.requests.append(request)
        bodies = []
        for spec in act["events"]:
            number, key, size = len(ledger.events) + 1, spec.get("key"), int(spec.get("size", 0))
            event = Event(number, spec["stream"], spec["kind"], key, request, size)
            ledger.events[event.number] = event
            request.events.append(event)
            bodies.append(_body(event, spec))
        numbers = ", ".join(str(each.number) for each in request.events)
        ledger.tell(CLOCKS.now, "producer", f"posts event{'s' if len(bodies) > 1 else ''} {numbers} ({request})")
        body = b"[%b]" % b",".join(bodies) if act.get("array") else bodies[0]
        self._send(request, body, act)
        return request

    def _send(self, request: Request, body: bytes, act: dict[str, Any]) -> None:
        fresh = CLOCKS.now - 15.0
        self.idle = [each for each in self.idle if not each.end.gone and not each.over and each.idle_since > fresh]
        call = self.idle.pop() if self.idle and not act.get("new") else None
        if call is None:
            end = self.network.visit(self.place)
            if end is None:
                request.end, request.ended = "refused", CLOCKS.now
                self.ledger.tell(CLOCKS.now, "producer", f"finds nobody listening ({request})")
                return
            call = Call(self, end)
        call.begin(request, body, act)


class Call:
    """One connection of a producer."""

    def __init__(self, producers: Producers, end: End) -> None:
        """No request is sent yet."""
        self.producers, self.end = producers, end
        self.over = False
        self.idle_since = 0.0
        self._request: Request | None = None
        self._timer: Handle | None = None
        self._keeps = True
        end.reader = self

    def begin(self, request: Request, body: bytes, act: dict[str, Any]) -> None:
        """Send a request."""
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._body, self._reason = b"", b""
        self._headers: dict[str, str] = {}
        self._keeps = not act.get("close")
        loop = self.producers.loop
        self._timer = loop.happens(TIMEOUT, None, self._leave, "timeout")
        if (after := act.get("leaves")) is not None:
            loop.happens(float(after), None, self._leave, "left", request)
        head = [
            f"POST /v1/events{'?hasty=true' if request.hasty else ''} HTTP/1.1",
            "Host: 127.0.0.1:8888",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if act.get("request_id"):
            head.append(f"x-request-id: r{request.number}")
        if act.get("close"):
            head.append("Connection: close")
        data = "\r\n".join(head).encode() + b"\r\n\r\n" + body
        half = int(len(data) * float(act.get("pause_at", 1.0)))
        self.end.write(data[:half])
        if half < len(data):
            loop.happens(float(act.get("pause", 0.5)), None, self._rest, request, data[half:])
        else:
            request.sent = CLOCKS.now

    def _rest(self, request: Request, data: bytes) -> None:
        if self._request is request:
            self.end.write(data)
            request.sent = CLOCKS.now

    def _leave(self, why: str, request: Request | None = None) -> None:
        if self._request is not None and (request is None or request is self._request):
            self._over(why)
            self.end.reset()

    def _over(self, how: str) -> None:
        request, self._request = self._request, None
        if self._timer is not None:
            self._timer.cancel()
        if request is None:
            return
        request.end, request.ended = how, CLOCKS.now
        self.over = how != "answered"
        words = f"is answered {request.status} {request.reason!r}" if how == "answered" else how
        said = f" [{request.said}]" if request.said else ""
        self.producers.ledger.tell(CLOCKS.now, "producer", f"{request}: {words}{said}")

    # --- events of the network ---

    def data(self, data: bytes) -> None:
        """Read on."""
        if self._request is None:
            self.over = True
            self.producers.ledger.tell(CLOCKS.now, "producer", f"gets what nobody asked for: {data[:80]!r}")
            return
        self._parser.feed_data(data)

    def eof(self) -> None:
        """Handle that the sidecar closed the connection."""
        self.over = True
        self._over("lost")
        self.end.close()

    def lost(self, _: OSError | None) -> None:
        """Handle that the connection broke."""
        self.over = True
        self._over("lost")

    def writable(self) -> None:
        """Do nothing."""

    # --- events of the parser ---

    def on_status(self, reason: bytes) -> None:
        """Store the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header."""
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Store part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Handle the answer."""
        request = self._request
        if request is None:
            return
        request.status, request.reason = self._parser.get_status_code(), self._reason.decode("latin-1")
        request.body = self._body
        request.said = self._headers.get("x-eventgate-sidecar", "")
        request.retry_after = self._headers.get("retry-after")
        keeps = self._keeps and self._parser.should_keep_alive()
        self._over("answered")
        if keeps:
            self.idle_since = CLOCKS.now
            self.producers.idle.append(self)
        else:
            self.over = True
            self.end.close()


def _body(event: Event, spec: dict[str, Any]) -> bytes:
    meta: dict[str, Any] = {"stream": event.stream, "dt": "2026-01-01T00:00:00Z"}
    if spec.get("id"):
        meta["id"] = spec["id"]
    body: dict[str, Any] = {"$schema": "/sim/event/1.0.0", "meta": meta, "sim": {"n": event.number}}
    if event.kind == "dotted":
        body["meta.stream"] = OTHER
    if event.key is not None:
        body["page"] = event.key
    if spec.get("size"):
        body["text"] = "x" * int(spec["size"])
    return json.dumps(body).encode()
