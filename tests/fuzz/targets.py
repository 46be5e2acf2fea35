"""Properties that must hold for any bytes: from a producer, in EventGate's answers, on its connection.

Each target takes any bytes, and fails if they break a property. The tests pass the seeds, and `guided` what it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import json.decoder
import json.scanner
from collections.abc import Callable, Sequence

import h11

from sidecar.errors import RequestError
from sidecar.eventgate.connection import BadReply, Connection, Reply
from sidecar.eventgate.verdict import read
from sidecar.events.event import Event, parse
from sidecar.events.outgoing import Outgoing
from sidecar.events.results import placed
from sidecar.intake.answer import merge
from tests.jsontext import Json, as_read, meta_of, refuse_constant, text_of

Target = Callable[[bytes], None]

NEW_STREAM = "mediawiki.revision-score-test"
NEW_ID = "5ab1b3f0-6f0a-4d69-9a3c-1b0c3ad1d6c5"


class _InPython(json.JSONDecoder):
    """The standard library's JSON parser without its parts in C: its coverage guides the search."""

    def __init__(self) -> None:
        super().__init__(parse_constant=refuse_constant)
        self.parse_string = json.decoder.py_scanstring  # type: ignore[attr-defined]
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


_lax = _InPython().decode


def _as_read(raw: bytes) -> Json:
    with contextlib.suppress(ValueError):
        _lax(raw.decode(errors="replace"))  # takes `"\u d8 "` too
    return as_read(raw)


def _may_be_deep(data: bytes) -> bool:
    """Whether Python's own parser may run out of stack; each parser has another limit."""
    return data.count(b"[") + data.count(b"{") > 100


# --- the body of a POST -----------------------------------------------------------------------------------------------


def body(data: bytes) -> None:
    """A body is split into exactly the bytes of its events, or refused, as JSON.parse accepts or refuses it."""
    try:
        events = parse(data)
        changed = [event.with_stream_and_id(NEW_STREAM, NEW_ID) for event in events]
    except RequestError:
        assert _may_be_deep(data) or not _holds_events(data)
        return
    if _may_be_deep(data):
        return
    value = _as_read(data)
    values = value if isinstance(value, list) else [value]
    assert [_as_read(event.raw) for event in events] == values
    place = 0
    for event, each, after in zip(events, values, changed, strict=True):
        place = data.index(event.raw, place) + len(event.raw)
        _is_read_right(event, each)
        assert _as_read(after) == _as_changed(each)


def _holds_events(data: bytes) -> bool:
    """Whether it is JSON with something in it."""
    try:
        value = _as_read(data)
    except ValueError:
        return False
    return isinstance(value, (dict, list)) and bool(value)


def _is_read_right(event: Event, value: Json) -> None:
    meta = meta_of(value) or {}
    assert event.stream == text_of(meta.get("stream"))
    assert event.id == text_of(meta.get("id"))
    assert event.schema == (text_of(value.get("$schema")) if isinstance(value, dict) else None)
    assert event.lacks_id == (meta_of(value) is not None and "id" not in meta)


def _as_changed(value: Json) -> Json:
    """Return it with the new stream, and with an id if it had none; the rest is unchanged."""
    meta = meta_of(value)
    if meta is not None:
        if "stream" in meta:
            meta["stream"] = NEW_STREAM
        meta.setdefault("id", NEW_ID)
    return value


# --- EventGate's answer to some events --------------------------------------------------------------------------------

STATUSES = (207, 400, 500, 201, 202, 200, 503)
_REASONS = {201: "All 3 out of 3 events were accepted.", 202: "3 events hastily received."}
WITH_IDS = tuple(
    Outgoing(index, b'{"meta":{"stream":"s","id":"%b"}}' % each, each.decode(), "s")
    for index, each in enumerate((b"a", b"b", b"c"))
)
IDS = {each.id for each in WITH_IDS}
WITHOUT = tuple(Outgoing(index, b'{"meta":{"stream":"s"}}', None, "s") for index in range(2))


def reply(data: bytes) -> None:
    """The first byte gives the status and whether events have ids. No event is a success unless the answer says so."""
    first = data[:1] or b"\0"
    status, events = STATUSES[first[0] % len(STATUSES)], WITHOUT if first[0] & 0x80 else WITH_IDS
    statuses = read(status, _REASONS.get(status, ""), data[1:], events, status == 202)
    if statuses is None:
        # A success may contradict itself: its body has failures, or its number of events is wrong.
        assert status not in (201, 202) or data[1:] or events is WITHOUT
        return
    assert len(statuses) == len(events)
    answer = merge(placed(statuses, "main", "eqiad"), ["all"] * len(events), hasty=False)
    assert answer.status in (201, 207, 400, 500)
    if _may_be_deep(data):
        return
    named = _named_ids(data[1:])
    for event, each in zip(events, statuses, strict=True):
        if each.status != "success":
            _as_read(each.described)
        elif status == 207:
            assert named
            assert event.id is None or (set(named) <= IDS - {event.id} and len(set(named)) == len(named))
        else:
            assert status in (201, 202)
    if answer.body:
        _as_read(answer.body)


def _named_ids(data: bytes) -> list[str | None]:
    """Return the ids of the events that an answer lists as failed, None for one without id, as Python parses it."""
    try:
        said = _as_read(data)
    except ValueError:
        return []
    lists = [said.get(kind) for kind in ("invalid", "error")] if isinstance(said, dict) else []
    echoes = [echo for each in lists if isinstance(each, list) for echo in each]
    return [
        text_of((meta_of(echo.get("event")) or {}).get("id")) if isinstance(echo, dict) else None for echo in echoes
    ]


# --- what comes over a connection to EventGate ------------------------------------------------------------------------


class Line(asyncio.Transport):
    """A transport that only records whether it was closed."""

    def __init__(self) -> None:
        """It is open."""
        super().__init__()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""

    def get_write_buffer_size(self) -> int:
        """Do nothing; it buffers nothing."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing; it buffers nothing."""

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closing

    def abort(self) -> None:
        """Close it."""
        self._closing = True


NEXT = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"


def answer(data: bytes) -> None:
    """Bytes in one piece, in two, or one by one give the same answer, or the same reason why there is none.

    If the connection may be used again, the next answer belongs to the next request.
    """
    whole = _answer_in([data])
    assert _answer_in([data[place : place + 1] for place in range(len(data))]) == whole
    if data:
        cut = data[0] * 7 % len(data)
        assert _answer_in([data[:cut], data[cut:]]) == whole
    other = _answer_by_h11(data)
    if other is not None and isinstance(whole[0], int):
        assert (whole[0], whole[-1]) == other


def _answer_in(pieces: Sequence[bytes]) -> tuple[object, ...]:
    """Return the result for an answer in these pieces, before its connection is closed."""
    line, connection, told = Line(), Connection(), list[Reply | Exception]()
    connection.connection_made(line)
    connection.exchange(b"POST /v1/events HTTP/1.1\r\n\r\n", told.append)
    for piece in pieces:
        if not line.is_closing():
            connection.data_received(piece)
    if connection.may_be_reused:
        assert not line.is_closing()
        _is_used_again(connection)
    if not line.is_closing():
        connection.eof_received()
    connection.connection_lost(None)
    (outcome,) = told
    if isinstance(outcome, Reply):
        assert outcome.status >= 200
        return outcome.status, outcome.reason, outcome.headers, outcome.body
    assert isinstance(outcome, (BadReply, ConnectionError))
    return (type(outcome),)


def _answer_by_h11(data: bytes) -> tuple[int, bytes] | None:
    """Return status and body as h11 reads them; None if it refuses them or they are incomplete."""
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    peer.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        peer.receive_data(data)
        while not isinstance(event := peer.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                peer.receive_data(b"")
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except (h11.RemoteProtocolError, RuntimeError):  # the second: more after the end that was told
        return None
    return status, body


def _is_used_again(connection: Connection) -> None:
    told = list[Reply | Exception]()
    connection.exchange(b"POST /v1/events HTTP/1.1\r\n\r\n", told.append)
    connection.data_received(NEXT)
    assert told == [Reply(201, "Created", head=NEXT)]


TARGETS: dict[str, Target] = {"body": body, "reply": reply, "answer": answer}
