"""A request body becomes events; an event is its bytes.

Events are never parsed and written again: number formats, key order, unknown keys and escapes must reach
EventGate as the producer wrote them. So an `Event` is a slice of the body and the few words that routing
needs, and the two changes we may make (`meta.stream` and a missing `meta.id`) are cuts in that slice.

Two readers see each body. msgspec takes what it can, in about a microsecond. What it refuses although
EventGate (V8's JSON.parse) takes it, lone surrogates above all, and every cut, goes through `scan`,
which finds the exact place of each key with the standard library's scanner. Where both refuse, it is not JSON.
Where a key stands twice in an object the last one counts, as in JSON.parse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from sidecar.errors import BodyTooLarge, EmptyBody, MalformedBody
from sidecar.events import scan

MAX_EVENTS = 10_000
"""Events in one array: as many of the usual size, 1 kB, as a body of 10 MB holds. Each costs a few hundred bytes
and some 20 microseconds, during which nobody else is served."""
MAX_VALUES = 500_000
"""Values, of whatever kind, in one body, counted by the commas and brackets in it. Reading a body key by key takes
up to a microsecond for each."""

_T = TypeVar("_T")
_SPACE = b" \t\r\n"
_STREAM_MEMBER = re.compile(rb'"stream"[ \t\r\n]*:[ \t\r\n]*"([^"\\]*)"')


class _Meta(msgspec.Struct):
    stream: str | None = None
    id: str | msgspec.UnsetType | None = msgspec.UNSET
    request_id: str | None = None


class _Head(msgspec.Struct):
    schema: str | None = msgspec.field(name="$schema", default=None)
    meta: _Meta | msgspec.UnsetType = msgspec.UNSET


class Event(msgspec.Struct, frozen=True):
    """One event as it came: its bytes, and the words that decide its way.

    `index` is its place in the request. `stream`, `schema` and `id` are None where the event has no such
    text. `lacks_id` says that `meta` is there and has no key `id`, so one can be given. `lacks_request_id`
    says that EventGate would take `meta.request_id` from the header.
    """

    index: int
    raw: bytes
    stream: str | None = None
    schema: str | None = None
    id: str | None = None
    lacks_id: bool = False
    lacks_request_id: bool = True

    def value_at(self, path: str) -> str | None:
        """Return the scalar at a dotted path as text: a string's text, else the JSON as written (`42`, `true`).

        None where there is nothing, or an object or an array.
        """
        text = self.raw.decode("latin-1")
        start, end = 0, len(text)
        for key in path.split("."):
            span = scan.last_member(text, start, key)
            if span is None:
                return None
            start, end = span
        first = text[start]
        if first in "{[":
            return None
        return scan.string_at(text, start) if first == '"' else text[start:end]

    def order_key(self, stream: str, paths: Sequence[str]) -> str:
        """Return `stream` and what the event has at these dotted paths, as JSON; null where there is no scalar."""
        return msgspec.json.encode([stream, *(self.value_at(path) for path in paths)]).decode()

    def with_stream_and_id(self, stream: str | None, new_id: str | None) -> bytes:
        """Return the bytes with `meta.stream` replaced and a missing `meta.id` put in; None leaves either alone.

        `stream` and `new_id` are plain ASCII without quotes or backslashes: `routes.pattern` and uuid4 see to that.
        """
        if stream is not None and (new_id is None or not self.lacks_id):
            renamed = self._renamed(stream)
            if renamed is not None:
                return renamed
        text = self.raw.decode("latin-1")
        meta = scan.last_member(text, 0, "meta")
        if meta is None or text[meta[0]] != "{":
            return self.raw
        cuts: list[tuple[int, int, str]] = []
        if new_id is not None and self.lacks_id:
            after = meta[0] + 1
            empty = text[scan.skip_space(text, after)] == "}"
            cuts.append((after, after, f'"id":"{new_id}"' if empty else f'"id":"{new_id}",'))
        span = scan.last_member(text, meta[0], "stream") if stream is not None else None
        if span is not None:
            cuts.append((*span, f'"{stream}"'))
        for start, end, new in sorted(cuts, reverse=True):
            text = text[:start] + new + text[end:]
        return text.encode("latin-1")

    def _renamed(self, stream: str) -> bytes | None:
        """Return the bytes with the one place replaced that reads `"stream": "<its stream>"`.

        None where there is no such place or several, or where another is meant: then the exact place is needed.
        """
        raw = self.raw
        place = raw.find(b'"stream"')
        if self.stream is None or place < 0 or raw.find(b'"stream"', place + 1) >= 0:
            return None
        found = _STREAM_MEMBER.match(raw, place)
        if found is None:
            return None
        renamed = b"%b%b%b" % (raw[: found.start(1)], stream.encode(), raw[found.end(1) :])
        if b"\\" not in raw:
            return renamed
        # The key that is meant may be written with escapes, and this be another of that name.
        same = found[1].decode("utf-8", errors="replace") == self.stream
        return renamed if same and _stream_of(renamed) == stream else None


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_members = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _stream_of(raw: bytes) -> str | None:
    try:
        meta = _decode_head(raw).meta
    except (ValueError, RecursionError):
        return None
    return None if meta is msgspec.UNSET else meta.stream


def parse(body: bytes) -> tuple[Event, ...]:
    """Split a body, a lone object or an array, into its events.

    Raises:
        EmptyBody: no bytes, `{}` or `[]`, as lodash's isEmpty has it in EventGate's routes/events.js.
        MalformedBody: not JSON, or neither an object nor an array.
        BodyTooLarge: more events or values than are read at once.

    """
    if not body:
        raise EmptyBody
    if len(body) > MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BodyTooLarge(f"the body has over {MAX_VALUES} values; send its events in several")
    body = body.strip(_SPACE)
    if not body or body[0] not in b"{[":
        character = body[:4].decode(errors="replace")[:1] or " "
        raise MalformedBody(f"Unexpected token '{character}', \"#\" is not valid JSON")
    if body[0] == ord("{"):
        event = _event(0, body)
        if event.stream is None and not body[1:-1].strip(_SPACE):
            raise EmptyBody
        return (event,)
    members = _split(body)
    if not members:
        raise EmptyBody
    return tuple(_event(index, raw) for index, raw in enumerate(members))


def _event(index: int, raw: bytes) -> Event:
    try:
        head = _decode_head(raw)
    except (ValueError, RecursionError):  # a type we did not expect, a lone surrogate, bad UTF-8, or no JSON
        return _event_slowly(index, raw)
    meta = head.meta
    if meta is msgspec.UNSET:
        return Event(index, raw, None, head.schema)
    return Event(
        index,
        raw,
        meta.stream,
        head.schema,
        meta.id if meta.id is not msgspec.UNSET else None,
        meta.id is msgspec.UNSET,
        meta.request_id is None,
    )


def _event_slowly(index: int, raw: bytes) -> Event:
    """Read what msgspec refused; an array member that is no object is an event without any words."""
    text = raw.decode("latin-1")
    scan.end_of_value(text, 0, whole=True)
    if text[0] != "{":
        return Event(index, raw)
    places = scan.places(text, 0, ("$schema", "meta"))
    schema = scan.text_at(text, places.get("$schema"))
    meta = places.get("meta")
    if meta is None or text[meta[0]] != "{":
        return Event(index, raw, schema=schema)
    places = scan.places(text, meta[0], ("stream", "id", "request_id"))
    return Event(
        index,
        raw,
        stream=scan.text_at(text, places.get("stream")),
        schema=schema,
        id=scan.text_at(text, places.get("id")),
        lacks_id="id" not in places,
        lacks_request_id="request_id" not in places,
    )


def _split(body: bytes) -> list[bytes]:
    """Return the exact bytes of each member of an array."""
    try:
        members = _decode_members(body)
    except (ValueError, RecursionError):
        text = body.decode("latin-1")
        scan.end_of_value(text, 0, whole=True)
        return [text[start:end].encode("latin-1") for start, end in _no_more_than_are_read(list(scan.items(text)))]
    return [bytes(raw) for raw in _no_more_than_are_read(members)]


def _no_more_than_are_read(members: list[_T]) -> list[_T]:
    if len(members) > MAX_EVENTS:
        raise BodyTooLarge(f"the array has {len(members)} events; send at most {MAX_EVENTS} at once")
    return members
