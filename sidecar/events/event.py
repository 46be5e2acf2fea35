"""A request body becomes events; an event is its bytes.

Events are never parsed and written again: number formats, key order, unknown keys and escapes must reach
EventGate as the producer wrote them. So an `Event` is a slice of the body and the few words that routing
needs, and the two changes we may make (`meta.stream` and a missing `meta.id`) are cuts in that slice.

Two readers see each body. msgspec takes what it can, in about a microsecond. What it refuses although
EventGate (V8's JSON.parse) takes it, lone surrogates above all, and every cut, goes through `_members`,
which finds the exact place of each key with the standard library's scanner. Where both refuse, it is not JSON.
Where a key stands twice in an object the last one counts, as in JSON.parse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import msgspec

from sidecar.errors import BodyTooLarge, EmptyBody, MalformedBody

MAX_EVENTS = 10_000
"""Events in one array: as many of the usual size, 1 kB, as a body of 10 MB holds. Each costs a few hundred bytes
and some 20 microseconds, during which nobody else is served."""
MAX_VALUES = 500_000
"""Values, of whatever kind, in one body, counted by the commas and brackets in it. Reading a body key by key takes
up to a microsecond for each."""

_T = TypeVar("_T")
_SPACE = b" \t\r\n"
_SPACE_RE = re.compile(r"[ \t\r\n]*")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_STREAM_MEMBER = re.compile(rb'"stream"[ \t\r\n]*:[ \t\r\n]*"([^"\\]*)"')
_MEMBER = re.compile(
    r"""[ \t\r\n,]*+ "((?:[^"\\]|\\.)*+)" [ \t\r\n]*+ : [ \t\r\n]*+ ("(?:[^"\\]|\\.)*+" | [^\[{",}\s]*+)""", re.VERBOSE
)
"""A key and its value; of an object or an array only where it begins."""


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
            span = _last_member(text, start, key)
            if span is None:
                return None
            start, end = span
        first = text[start]
        if first in "{[":
            return None
        return _string(text, start) if first == '"' else text[start:end]

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
        meta = _last_member(text, 0, "meta")
        if meta is None or text[meta[0]] != "{":
            return self.raw
        cuts: list[tuple[int, int, str]] = []
        if new_id is not None and self.lacks_id:
            after = meta[0] + 1
            empty = text[_skip_space(text, after)] == "}"
            cuts.append((after, after, f'"id":"{new_id}"' if empty else f'"id":"{new_id}",'))
        span = _last_member(text, meta[0], "stream") if stream is not None else None
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


class Outgoing(msgspec.Struct, frozen=True):
    """An event on its way out: its bytes after rewriting and the id it is found again by."""

    index: int
    body: bytes
    id: str | None
    """None: it has none, or shares it with another event of its request; see `batching`."""
    stream: str
    """The name it is counted under; empty where it has none."""
    lacks_request_id: bool = True
    """Whether EventGate takes `meta.request_id` from the header."""
    order_key: str | None = None
    """Events of an upstream with the same key never overtake each other; None: in any order."""
    spool_first: bool = False
    """Whether its producer is answered as soon as it is in the spool."""


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
        if event.stream is None and _skip_space_bytes(body, 1) == len(body) - 1:
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
    _end_of_value(text, 0, whole=True)
    if text[0] != "{":
        return Event(index, raw)
    places = _places(text, 0, ("$schema", "meta"))
    schema = _text_at(text, places.get("$schema"))
    meta = places.get("meta")
    if meta is None or text[meta[0]] != "{":
        return Event(index, raw, schema=schema)
    places = _places(text, meta[0], ("stream", "id", "request_id"))
    return Event(
        index,
        raw,
        stream=_text_at(text, places.get("stream")),
        schema=schema,
        id=_text_at(text, places.get("id")),
        lacks_id="id" not in places,
        lacks_request_id="request_id" not in places,
    )


def _split(body: bytes) -> list[bytes]:
    """Return the exact bytes of each member of an array."""
    try:
        members = _decode_members(body)
    except (ValueError, RecursionError):
        text = body.decode("latin-1")
        _end_of_value(text, 0, whole=True)
        return [text[start:end].encode("latin-1") for start, end in _no_more_than_are_read(list(_items(text)))]
    return [bytes(raw) for raw in _no_more_than_are_read(members)]


def _no_more_than_are_read(members: list[_T]) -> list[_T]:
    if len(members) > MAX_EVENTS:
        raise BodyTooLarge(f"the array has {len(members)} events; send at most {MAX_EVENTS} at once")
    return members


# Exact places. The body is read as Latin-1 here, so that a place in the text is a place in the bytes; all that
# JSON gives a meaning is ASCII, and the bytes of other characters never look like it.


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


def _nothing(_: str) -> None:
    return None


_scan = json.JSONDecoder(parse_int=_nothing, parse_float=_nothing, parse_constant=_refuse_constant).raw_decode


def _end_of_value(text: str, start: int, *, whole: bool = False) -> int:
    """Return the place behind the value at `start`; with `whole`, nothing but that value may follow."""
    try:
        _, end = _scan(text, start)
    except json.JSONDecodeError as error:
        if error.pos >= len(text):
            raise MalformedBody("Unexpected end of JSON input") from None
        words = error.msg.removesuffix(" at")
        raise MalformedBody(f"{words} at byte {error.pos} is not valid JSON") from None
    except RecursionError:
        raise MalformedBody("nested too deeply: an event may have a few hundred levels") from None
    except ValueError as error:
        raise MalformedBody(str(error)) from None
    if whole and end != len(text):
        raise MalformedBody(f"Unexpected non-whitespace character after JSON at byte {end}")
    return int(end)


def _skip_space(text: str, start: int) -> int:
    found = _SPACE_RE.match(text, start)
    return found.end() if found else start


def _skip_space_bytes(body: bytes, start: int) -> int:
    while body[start] in _SPACE:
        start += 1
    return start


def _string(text: str, start: int) -> str:
    """Return the string at `start`, its UTF-8 put right; what is not UTF-8 becomes U+FFFD, as in Node.

    So does a lone surrogate, which cannot be written as UTF-8: not to a log, not to RE2, not in an answer.
    """
    end = _end_of_value(text, start)
    value: Any = json.loads(text[start:end].encode("latin-1").decode("utf-8", errors="replace"))
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)


def _members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield key, start and end of the value for each member of the object at `start`, in order.

    The text is JSON, which has been seen before; so each member takes one search, unless its value has parts.
    """
    place = start + 1
    while member := _MEMBER.match(text, place):
        key = member[1]
        if "\\" in key or not key.isascii():
            key = _string(text, member.start(1) - 1)
        value, end = member.span(2)
        if value == end:  # an object or an array
            end = _end_of_value(text, value)
        yield key, value, end
        place = end


def _items(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each member of the array that `text` is."""
    place = _skip_space(text, 1)
    while text[place] != "]":
        end = _end_of_value(text, place)
        yield place, end
        place = _skip_space(text, end)
        if text[place] == ",":
            place = _skip_space(text, place + 1)


def _last_member(text: str, start: int, key: str) -> tuple[int, int] | None:
    """Return start and end of the value of `key` in the object at `start`; None where there is none."""
    return _places(text, start, (key,)).get(key) if text[start] == "{" else None


def _places(text: str, start: int, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return start and end of the value of each of `keys` that the object at `start` has; the last of a name counts."""
    return {name: (value, end) for name, value, end in _members(text, start) if name in keys}


def _text_at(text: str, span: tuple[int, int] | None) -> str | None:
    return _string(text, span[0]) if span is not None and text[span[0]] == '"' else None
