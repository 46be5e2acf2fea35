"""The emulator's requests and faults, as an ASGI application.

Statuses, reason phrases, content types and JSON bodies are as recorded from EventGate 1.8.4
(`tests/data/eventgate_exchanges.yaml`). Instead of Kafka there is a file with one JSON line per accepted event.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import isinf
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

import msgspec

from sidecar.demo.emulator import ajv, answers, bodyparser
from sidecar.demo.emulator.answers import EmulatedAnswer
from sidecar.errors import SettingError
from sidecar.routes.file import read_bytes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SCHEMAS = Path(__file__).parent / "schemas"
MAX_BODY_BYTES = 10 * 1024 * 1024  # max_body_size of Wikimedia's EventGate

Mode = Literal["none", "slow", "freeze", "unavailable", "refuse", "drip", "reset", "kafka", "unrouted"]


@dataclass(frozen=True)
class Fault:
    """A fault to simulate, for events and `/_info` alike.

    slow: the answer is delayed by `seconds`, after the events are stored. freeze: connections are accepted and never
    answered. unavailable: 503, as from a proxy without a backend. refuse: nothing listens. drip: a byte every
    `seconds`. reset: the connection is reset in the middle of the answer. kafka: every valid event is an `error`.
    unrouted: events are answered 404, as by a proxy without a route for them.
    """

    mode: Mode = "none"
    seconds: float = 1.0


# app.js sets these on every answer.
_HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-headers", b"accept, x-requested-with, content-type"),
    (b"access-control-expose-headers", b"etag"),
    (b"access-control-allow-methods", b"post"),
    (b"x-xss-protection", b"1; mode=block"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
]
_TEST_EVENT = {"$schema": "/test/event/1.0.0", "meta": {"stream": "eventgate-main.test.event"}}
_FORWARDED = (b"user-agent", b"x-request-id", b"traceparent")
_COMPRESSED_FROM = 1024  # bytes; the threshold of the compression that app.js turns on


class EventGateEmulator:
    """One emulated EventGate, an ASGI application; `running` serves it.

    Accepted events are appended to the file `output`; without one they are kept in `records`, oldest first. `streams`
    maps each stream to its schema title, as Wikimedia's stream configuration does; None allows any stream.
    """

    def __init__(
        self,
        name: str = "eventgate",
        *,
        topic_prefix: str = "",
        output: Path | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        streams: Mapping[str, str] | None = None,
        schemas: Path = SCHEMAS,
    ) -> None:
        """Open the output file; raises OSError if that fails."""
        self.name = name
        self.topic_prefix = topic_prefix
        self.max_body_bytes = max_body_bytes
        self.streams = streams
        self.records: list[dict[str, Any]] = []
        self.control_url: str | None = None
        self._schemas = schemas.resolve()
        self._validators: dict[str, ajv.Validator] = {}
        self._output = output.open("ab", buffering=0) if output else None
        self._fault = Fault()
        self._changed = asyncio.Event()
        self.on_fault: Callable[[Fault], None] = _ignore  # set by the server, for `refuse`

    @property
    def fault(self) -> Fault:
        """The current fault; setting it takes effect at once and releases all held requests."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        """Set the fault and release all held requests."""
        self._fault = fault
        changed, self._changed = self._changed, asyncio.Event()
        self.on_fault(fault)
        changed.set()

    @property
    def changed(self) -> asyncio.Event:
        """Set when the fault is next set; get it before reading `fault`, so that no change is missed."""
        return self._changed

    def release(self) -> None:
        """Release all held requests; the fault stays."""
        self.fault = self._fault

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, subject to the fault."""
        if scope["path"].startswith("/_emulator/"):
            await self.control(scope, receive, send)
            return
        fault = self._fault
        if fault.mode == "freeze":
            await self._hold(receive)
            await send({"type": "emulator.abort"})
            return
        headers = dict(scope["headers"])
        body = await _read(receive, self.max_body_bytes)
        try:
            answer = self._answer(scope, headers, body)
        except RecursionError:
            # EventGate overflows its stack while writing the answer, and never sends it.
            await self._hold(receive)
            await send({"type": "emulator.abort"})
            return
        if fault.mode == "slow":
            await self._hold(receive, fault.seconds)
        write = {"drip": self._drip, "reset": _reset}.get(fault.mode)
        await _send(answer, headers, send, write=write)

    async def control(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve `GET` and `PUT /_emulator/fault`, with `{"mode": …, "seconds": …}`; a 400 says what is wrong."""
        if scope["path"] != "/_emulator/fault" or scope["method"] not in ("GET", "PUT"):
            await _send(EmulatedAnswer(404, "Not Found"), {}, send)
            return
        if scope["method"] == "PUT":
            try:
                self.fault = msgspec.json.decode(await _read(receive, 1000), type=Fault)
            except msgspec.DecodeError as error:
                await _send(EmulatedAnswer(400, "Bad Request", "text/plain", f"{error}\n".encode()), {}, send)
                return
        body = msgspec.json.encode(asdict(self._fault))
        await _send(EmulatedAnswer(200, "OK", "application/json", body), {}, send)

    def close(self) -> None:
        """Close the output file."""
        if self._output:
            self._output.close()

    def _answer(self, scope: Message, headers: Mapping[bytes, bytes], body: bytes) -> EmulatedAnswer:
        """The answer to a complete request. The body is parsed first, whatever the path (EventGate app.js)."""
        if self._fault.mode == "unavailable" or (self._fault.mode == "unrouted" and scope["method"] == "POST"):
            return answers.PROXY[self._fault.mode]
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        try:
            elements = bodyparser.read(headers, body, self.max_body_bytes)
        except bodyparser.BodyError as error:
            query = scope["query_string"].decode("latin-1")
            return answers.refusal(error, method, f"{path}?{query}" if query else path)
        # Express accepts paths in any case, with or without a trailing slash.
        match method, path.lower().removesuffix("/"):
            case "POST", "/v1/events":
                return self._events(elements, headers, scope["query_string"])
            case "GET" | "HEAD", "/_info":
                return answers.info()
            case "GET" | "HEAD", "/v1/_test/events":
                raw = bodyparser.stringify(_TEST_EVENT)
                return self._events([bodyparser.Element(json.loads(raw), raw)], headers, b"")
        return answers.not_found(method, path)

    def _events(
        self, elements: list[bodyparser.Element], headers: Mapping[bytes, bytes], query: bytes
    ) -> EmulatedAnswer:
        """Validate, store and answer (EventGate routes/events.js)."""
        if not elements:
            return answers.empty()
        invalid: list[dict[str, Any]] = []
        error: list[dict[str, Any]] = []
        accepted = []
        for element in elements:
            status, context = self._judge(element.value)
            if status == "success":
                accepted.append(element)
            else:
                failures = invalid if status == "invalid" else error
                failures.append({"status": status, "event": element.value, "context": context})
        if accepted:
            self._keep(accepted, headers)
        hasty = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("hasty", [""])
        if hasty != [""]:
            return EmulatedAnswer(202, f"{len(elements)} events hastily received.")
        return answers.verdict(len(elements), invalid, error)

    def _judge(self, event: ajv.Json) -> tuple[str, dict[str, Any]]:
        """Return the event's status and, unless that is success, its context; fill in the schema's defaults."""
        if not isinstance(event, dict) or "$schema" not in event:
            return "error", {"message": "Field(s) $schema were missing from event and could not be extracted."}
        uri = event["$schema"]
        validator = self._validators.get(uri) if isinstance(uri, str) else None
        if validator is None and (validator := self._load(uri)) is None:
            return "error", {"message": f"Failed loading schema at {uri}"}
        if errors := validator.errors(event):
            return "invalid", {"errors": errors, "errorsText": ajv.errors_text(errors)}
        stream = _stream(event)
        if self.streams is not None and (why := answers.misplaced(uri, validator.title, stream, self.streams)):
            return "error", {"message": why}
        if self._fault.mode == "kafka":
            return "error", {"message": "Local: Message timed out"}
        return "success", {}

    def _load(self, uri: ajv.Json) -> ajv.Validator | None:
        """Load the schema at a URI such as `/test/event/1.0.0`; None if there is none, or it is not supported."""
        if not isinstance(uri, str) or not uri.startswith("/"):
            return None
        try:
            path = (self._schemas / f"{uri[1:].removesuffix('.json')}.json").resolve()
            # The URI comes from the event and must not lead out of the schemas.
            if not path.is_relative_to(self._schemas):
                return None
            self._validators[uri] = validator = ajv.Validator(json.loads(read_bytes(path)))
        except (OSError, ValueError, RecursionError, SettingError):
            return None
        return validator

    def _keep(self, accepted: Iterable[bodyparser.Element], headers: Mapping[bytes, bytes]) -> None:
        """Store the events, in one write, before they are answered as accepted."""
        common = {
            "received": _now(),
            "name": self.name,
        }
        passed_on = {name.decode(): headers[name].decode("latin-1") for name in _FORWARDED if name in headers}
        lines = []
        for element in accepted:
            stream = _stream(element.value)
            record = {
                **common,
                "stream": stream,
                "topic": f"{self.topic_prefix}{stream}",
                "headers": passed_on,
            }
            lines.append(_line(record, element.raw))
        if self._output is None:
            self.records.extend(json.loads(line) for line in lines)
        else:
            self._output.write(b"".join(lines))

    async def _hold(self, receive: Receive, seconds: float | None = None) -> None:
        """Wait until the fault changes, the client disconnects, or the time is up."""
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(self._changed.wait()), group.create_task(_gone(receive))]
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _drip(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send a byte at a time; send the rest at once when the fault is lifted."""
        fault, sent = self._fault, 0
        while sent < len(data) and self._fault is fault and not transport.is_closing():
            transport.write(data[sent : sent + 1])
            sent += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), fault.seconds)
        if not transport.is_closing():
            transport.write(data[sent:])


def _ignore(_: Fault) -> None:
    pass


def _now() -> str:
    now = datetime.now(UTC)  # noqa: TID251 - the emulator is a separate program, without a clock argument
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stream(event: dict[str, Any]) -> str:
    """Return the stream as lodash finds `meta.stream`: a key of exactly that name before the path.

    It is text, as in a JavaScript template string, and empty if the schema does not require it and it is missing.
    """
    if "meta.stream" in event:
        return _in_javascript(event["meta.stream"])
    meta = event.get("meta")
    return _in_javascript(meta["stream"]) if isinstance(meta, dict) and "stream" in meta else ""


def _in_javascript(value: ajv.Json) -> str:
    """Format a value as `${value}` in JavaScript."""
    match value:
        case str():
            return value
        case list():
            return ",".join("" if each is None else _in_javascript(each) for each in value)
        case dict():
            return "[object Object]"
        case float() if isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
    return bodyparser.stringify([value]).decode()[1:-1].replace("e-0", "e-")


def _line(record: dict[str, Any], raw: bytes) -> bytes:
    try:
        # The event's own bytes can be written as they are, unless they span lines.
        event = msgspec.Raw(raw) if b"\n" not in raw and b"\r" not in raw else msgspec.json.decode(raw)
        return msgspec.json.encode({**record, "event": event, "raw": raw.decode()}) + b"\n"
    except (UnicodeEncodeError, msgspec.DecodeError):
        return json.dumps({**record, "event": json.loads(raw), "raw": raw.decode()}).encode() + b"\n"


async def _read(receive: Receive, limit: int) -> bytes:
    """Read the whole body, but keep at most one byte over the limit, which is enough to refuse it."""
    body = bytearray()
    while True:
        message = await receive()
        if len(body) <= limit:
            body += message.get("body", b"")[: limit + 1 - len(body)]
        if not message.get("more_body", False):
            return bytes(body)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_Write = Callable[[asyncio.Transport, bytes], Awaitable[None]]


async def _send(
    answer: EmulatedAnswer, request: Mapping[bytes, bytes], send: Send, *, write: _Write | None = None
) -> None:
    headers, body = list(_HEADERS), answer.body
    if answer.content_type is None:
        # This is how EventGate sends an answer without a body.
        headers.append((b"transfer-encoding", b"chunked"))
    else:
        headers += [(b"content-type", answer.content_type.encode()), (b"vary", b"accept-encoding")]
        if len(body) >= _COMPRESSED_FROM and b"gzip" in request.get(b"accept-encoding", b""):
            body = gzip.compress(body, 3)
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-length", b"%d" % len(body)))
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send({**start, "reason": answer.reason, "write": write})
    await send({"type": "http.response.body", "body": body})


async def _reset(transport: asyncio.Transport, data: bytes) -> None:
    """Send half of the answer, then RST, by closing the socket with a linger time of zero."""
    transport.write(data[: len(data) // 2])
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
