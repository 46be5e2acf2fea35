"""Emulated EventGates: each takes POSTs, stores accepted events, and answers as its mode says.

Whether an event is accepted depends on its kind and on the mode. The answer may say something else; the ledger has the
truth.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import httptools

from sidecar.demo.emulator import answers
from sidecar.demo.emulator.answers import EmulatedAnswer as Answer
from tests.simulation.clocks import CLOCKS
from tests.simulation.ledger import COPIES, Arrival, Event, Exchange, Ledger
from tests.simulation.loop import SimLoop
from tests.simulation.network import End

Mode = dict[str, Any]
WELL: Mode = {"mode": "well"}

PROXY = {
    404: b"<html><body>404 Not Found</body></html>",
    403: b"RBAC: access denied",
    421: b"",
    301: b"",
    302: b"",
    502: b"<html><body>502 Bad Gateway</body></html>",
    500: b"<html><body>Internal Server Error</body></html>",
    503: b"no healthy upstream",
    429: b"",
}
"""Modes in which a proxy in front of EventGate answers."""


class Gate:
    """One datacenter's EventGate."""

    def __init__(self, loop: SimLoop, ledger: Ledger, upstream: str, name: str, seed: str) -> None:
        """It works."""
        self.loop, self.ledger, self.upstream, self.name = loop, ledger, upstream, name
        self.mode: Mode = WELL
        self.takes = 0.0
        """Minimum seconds until an answer."""
        self.life: Callable[[], int] = lambda: 0
        """Number of the sidecar's current life."""
        self.waits: Callable[[int], bool] = lambda _: False
        """Whether the spool has the event with this number."""
        self.lines: list[Line] = []
        self.chance = random.Random(f"{seed}/{name}")

    def accept(self, end: End) -> None:
        """Take a connection."""
        line = Line(self, end)
        end.reader = line
        self.lines = [each for each in self.lines if not each.end.gone]
        self.lines.append(line)

    def cut_all(self) -> None:
        """Reset every connection."""
        for line in self.lines:
            line.end.reset()

    def is_poisoned(self, events: list[Event]) -> bool:
        """Whether one of these makes its whole request fail."""
        return any(each.kind == "poison" for each in events)


class Line:
    """One connection to a gate."""

    def __init__(self, gate: Gate, end: End) -> None:
        """Nothing has arrived yet."""
        self.gate, self.end = gate, end
        self._new_parser()

    def _new_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", b""

    # --- events of the network ---

    def data(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def eof(self) -> None:
        """Close too, since the sidecar closed."""
        self.end.close()

    def lost(self, _: OSError | None) -> None:
        """Do nothing."""

    def writable(self) -> None:
        """Do nothing."""

    # --- events of the parser ---

    def on_url(self, url: bytes) -> None:
        """Store the path."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """Store part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer."""
        method, url, body = self._parser.get_method(), self._url, self._body
        self._url = self._body = b""
        if method == b"GET":
            self._answer_check()
        else:
            self._take(url, body)

    def _answer_check(self) -> None:
        mode = self.gate.mode
        if mode["mode"] == "hang" and mode.get("checks"):
            return
        if mode["mode"] == "status" and mode.get("checks"):
            self._write(Answer(mode["status"], "Unwell", "text/plain", PROXY.get(mode["status"], b"")), 0.001)
        else:
            self._write(answers.info(), self._seconds() - self.gate.takes)

    def _seconds(self) -> float:
        mode = self.gate.mode
        usual = self.gate.takes + self.gate.chance.uniform(0.001, 0.02)
        return usual + float(mode.get("seconds", 0.0)) if mode["mode"] == "slow" else usual

    # --- events ---

    def _take(self, url: bytes, body: bytes) -> None:
        gate, mode, ledger = self.gate, self.gate.mode, self.gate.ledger
        try:
            raw = json.loads(body)
            raw = raw if isinstance(raw, list) else [raw]
            events = [ledger.events[each["sim"]["n"]] for each in raw]
        except (ValueError, TypeError, KeyError):
            ledger.garbled.append((CLOCKS.now, f"{gate.name} gets what nobody posted: {body[:200]!r}"))
            self._write(Answer(400, "Bad Request"), 0.001)
            return
        place = self.end.place[0]
        exchange = Exchange(gate.name, gate.upstream, gate.life(), CLOCKS.now, mode["mode"], events, address=place)
        exchange.streams = [_stream_of(each) for each in raw]
        if gate.upstream == COPIES:
            for event in events:
                event.copies.append(exchange)
        else:
            self._note(exchange)
        numbers = ", ".join(str(each.number) for each in events)
        ledger.tell(CLOCKS.now, gate.name, f"gets {numbers}{'' if mode == WELL else f' while {_words(mode)}'}")
        poisoned = mode["mode"] == "well" and gate.is_poisoned(events)
        step = mode["mode"] if not poisoned else "poisoned"
        _STEPS[step](self, exchange, raw, mode, b"hasty=true" in url)

    def _note(self, exchange: Exchange) -> None:
        """Record that events arrived, and not only copies."""
        self.gate.ledger.exchanges.append(exchange)
        for event in exchange.events:
            event.exchanges.append(exchange)
            if event.request.ended is None and len(event.exchanges) > 2 and self.gate.waits(event.number):
                exchange.replayed.add(event.number)

    def _judge(self, exchange: Exchange, raw: list[dict[str, Any]], broken: str = "") -> tuple[list[Any], list[Any]]:
        """Accept events; return the invalid ones and those with an error. `broken`: no event is accepted."""
        invalid, error = [], []
        for event, its in zip(exchange.events, raw, strict=True):
            if event.kind == "invalid":
                errors = [{"keyword": "required", "dataPath": "", "schemaPath": "#/required", "params": {}}]
                context: dict[str, Any] = {"errors": errors, "errorsText": "'' should have required property 'x'"}
                invalid.append({"status": "invalid", "event": its, "context": context})
            elif event.kind == "error" or broken:
                message = broken or "Broker: Message size too large"
                error.append({"status": "error", "event": its, "context": {"message": message}})
            else:
                self._accept(exchange, event, its)
        return invalid, error

    def _accept(self, exchange: Exchange, event: Event, its: dict[str, Any]) -> None:
        gate = self.gate
        arrival = Arrival(gate.name, gate.upstream, _stream_of(its), CLOCKS.now, exchange, its)
        if its.get("page") != event.key or its.get("text", "") != "x" * event.size:
            gate.ledger.garbled.append((CLOCKS.now, f"event {event.number} is not what was posted at {gate.name}"))
        exchange.accepted.append(event)
        if gate.upstream == COPIES:
            return
        event.arrivals.append(arrival)
        gate.ledger.arrivals.append(arrival)

    def _well(self, exchange: Exchange, raw: list[dict[str, Any]], mode: Mode, hasty: bool) -> None:
        def judge() -> None:
            invalid, error = self._judge(exchange, raw)
            answer = answers.verdict(len(raw), invalid, error)
            if hasty:
                answer = Answer(202, f"{len(raw)} events hastily received.")
            self._write(answer, 0.0 if late else seconds, exchange)

        late, seconds = bool(mode.get("late")), self._seconds()
        if late:
            self.gate.loop.happens(seconds, None, judge)
        else:
            judge()

    def _kafka(self, exchange: Exchange, raw: list[dict[str, Any]], _: Mode, hasty: bool) -> None:
        invalid, error = self._judge(exchange, raw, "Local: Message timed out")
        answer = answers.verdict(len(raw), invalid, error)
        self._write(Answer(202, f"{len(raw)} events hastily received.") if hasty else answer, self._seconds(), exchange)

    def _hang(self, exchange: Exchange, raw: list[dict[str, Any]], mode: Mode, _: bool) -> None:
        if mode.get("takes"):
            self._judge(exchange, raw)

    def _cut(self, exchange: Exchange, raw: list[dict[str, Any]], mode: Mode, _: bool) -> None:
        """Break the connection after some bytes of the answer."""
        invalid, error = self._judge(exchange, raw) if mode.get("takes") else ([], [])
        data = _wire(answers.verdict(len(raw), invalid, error))
        self.end.write(data[: min(int(mode.get("after", 0)), len(data) - 1)])
        self.gate.loop.happens(0.001, None, self.end.close if mode.get("politely") else self.end.reset)

    def _drip(self, exchange: Exchange, raw: list[dict[str, Any]], mode: Mode, _: bool) -> None:
        invalid, error = self._judge(exchange, raw)
        data = _wire(answers.verdict(len(raw), invalid, error))

        def drop(index: int) -> None:
            last = index + 1 == len(data)
            self.end.write(data[index : index + 1], exchange if last else None)
            if not last and not self.end.gone:
                self.gate.loop.happens(float(mode.get("seconds", 0.05)), None, drop, index + 1)

        drop(0)

    def _status(self, exchange: Exchange, _raw: list[dict[str, Any]], mode: Mode, _: bool) -> None:
        """Answer as a proxy does, without a result for the events; none is accepted."""
        exchange.refused = True
        status = int(mode["status"])
        self._write(Answer(status, "", "text/html", PROXY.get(status, b"")), 0.002, exchange, mode.get("retry_after"))

    def _too_large(self, exchange: Exchange, raw: list[dict[str, Any]], mode: Mode, hasty: bool) -> None:
        """Refuse arrays above this number of events."""
        if len(raw) <= int(mode.get("most", 1)):
            self._well(exchange, raw, mode, hasty)
        else:
            exchange.refused = True
            self._write(Answer(413, "Payload Too Large", "text/plain", b"too large"), 0.002, exchange)

    def _lies(self, exchange: Exchange, raw: list[dict[str, Any]], mode: Mode, _: bool) -> None:
        """Take what can be taken, and answer what cannot be true or says nothing."""
        if mode["how"] == "202":  # of a queue, say, that drops what it takes
            self._write(Answer(202, "Accepted"), 0.005)
            return
        invalid, error = self._judge(exchange, raw)
        true = answers.verdict(len(raw), invalid, error)
        match mode["how"]:
            case "no body 207":
                answer = Answer(207, "some were accepted")
            case "cut 207":
                body = b'{"invalid":[],"error":[{"status":"error","event":{"meta":{"id":"'
                answer = Answer(207, "1 out of 2 events were accepted", "application/json", body)
            case "unknown ids":
                failed = [{"status": "error", "event": {"meta": {"id": "nobody's"}}, "context": {"message": "?"}}]
                answer = answers.verdict(len(raw) + 1, [], failed)
            case "200":
                answer = Answer(200, "OK", "text/plain", b"OK")
            case "204":
                answer = Answer(204, "No Content")
            case _:
                answer = Answer(201, f"All {len(raw) + 1} out of {len(raw) + 1} events were accepted.")
        self._write(answer if not (invalid or error) else true, 0.005, None)

    def _poisoned(self, exchange: Exchange, raw: list[dict[str, Any]], mode: Mode, hasty: bool) -> None:
        exchange.refused = True
        if self.gate.ledger.events[raw[0]["sim"]["n"]].number % 2:
            self.end.reset()
        else:
            self._status(exchange, raw, {"status": 500, **mode, "mode": "status"}, hasty)

    def _write(
        self, answer: Answer, seconds: float, exchange: Exchange | None = None, retry_after: str | None = None
    ) -> None:
        def write() -> None:
            if not self.end.gone and self.end.weather.hole is False:
                self.end.write(_wire(answer, retry_after), exchange)

        self.gate.loop.happens(seconds, None, write)


_STEPS: dict[str, Callable[[Line, Exchange, list[dict[str, Any]], Mode, bool], None]] = {
    "well": Line._well,
    "slow": Line._well,
    "kafka": Line._kafka,
    "hang": Line._hang,
    "cut": Line._cut,
    "drip": Line._drip,
    "status": Line._status,
    "too large": Line._too_large,
    "lies": Line._lies,
    "poisoned": Line._poisoned,
}


def _stream_of(its: dict[str, Any]) -> str:
    """Return an event's stream, as EventGate reads it."""
    return str(its.get("meta.stream", its["meta"]["stream"]))


def _words(mode: Mode) -> str:
    more = ", ".join(f"{key} {value}" for key, value in mode.items() if key != "mode")
    return f"it is in mode {mode['mode']}{f' ({more})' if more else ''}"


def _wire(answer: Answer, retry_after: str | None = None) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}", "access-control-allow-origin: *"]
    if answer.content_type:
        lines.append(f"content-type: {answer.content_type}")
    if retry_after is not None:
        lines.append(f"retry-after: {retry_after}")
    if answer.status != 204:
        lines.append(f"content-length: {len(answer.body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body
