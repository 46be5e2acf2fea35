"""Splits a request body into events without changing a byte of them.

Events are never parsed and serialised again: number formats, key order, unknown keys and escapes must reach EventGate
as the producer wrote them. An `Event` is a slice of the body and the few values that routing needs; the two edits
(`meta.stream`, and a missing `meta.id`) replace bytes in that slice.

There are two readers. msgspec reads most events, in about a microsecond. What it refuses but EventGate (V8's
JSON.parse) accepts, mainly lone surrogates, is read by `scan`, which finds the exact place of each key with the
standard library's scanner. What both refuse is not JSON. The last of duplicate keys counts, as in JSON.parse.

EventGate looks up `meta.stream` with lodash and names a Kafka topic after it. An event whose stream or schema could be
read in two ways is `unclear`, and no route takes it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from sidecar.errors import BodyTooLarge, EmptyBody, MalformedBody
from sidecar.events import scan
from sidecar.events.paths import scalars_at

MAX_EVENTS = 10_000
"""Events in one array: a body of 10 MB with events of the usual 1 kB. Each costs a few hundred bytes and some 20
microseconds, during which no other request is served."""
MAX_VALUES = 500_000
"""Values of any kind in one body, counted by its commas and brackets. Reading key by key takes up to a microsecond
each."""

MAX_SEARCHED_VALUES = 20_000
"""Values in a body's events that msgspec does not read and that are therefore searched key by key; also in one event
in which `meta` is not found by guessing."""
MAX_NAME = 4096
"""Characters of a stream or a schema (Kafka allows 249 for a topic), and of an id; a longer id is ignored."""
SHOWN = 100
"""Characters kept of a longer name."""
GUESSES = 3
"""How many places are tried before an event is searched key by key."""

NEAR_BYTES = 4096
"""How far from its beginning an event is searched for its stream by a regular expression."""

_T = TypeVar("_T")
_SPACE = b" \t\r\n"
_META_MEMBER = re.compile(rb'"meta"[ \t\r\n]*:[ \t\r\n]*\{([ \t\r\n]*\})?')
_STREAM_MEMBER = re.compile(rb'"stream"[ \t\r\n]*:[ \t\r\n]*"([^"\\]*)"')
_USUAL = re.compile(rb'\{[^\\{}\[\]]*"meta"[ \t\r\n]*:[ \t\r\n]*\{[^\\{}\[\]]*?' + _STREAM_MEMBER.pattern)
"""From the start of an event to its stream, past strings and numbers without escapes: it can be no other key."""


_count = itertools.count().__next__
"""Counts the keys read, which finds duplicates at no cost for the other events."""


class _AnyString(type):
    __instancecheck__ = str.__instancecheck__


if TYPE_CHECKING:
    _Counted = str
else:

    class _Counted(metaclass=_AnyString):
        """A string that counts: msgspec takes it for a custom type and calls `_counted` each time it reads one."""


def _counted(_: type, value: object) -> object:
    _count()
    return value


class _Meta(msgspec.Struct):
    stream: _Counted | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType | None = msgspec.UNSET
    request_id: str | None = None
    proto: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="__proto__", default=msgspec.UNSET)

    def __post_init__(self) -> None:
        """Count it, like `_counted`."""
        _count()


class _Head(msgspec.Struct):
    schema: _Counted | msgspec.UnsetType = msgspec.field(name="$schema", default=msgspec.UNSET)
    meta: _Meta | msgspec.UnsetType = msgspec.UNSET
    dotted: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="meta.stream", default=msgspec.UNSET)
    proto: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="__proto__", default=msgspec.UNSET)


class Event(msgspec.Struct, frozen=True):
    """One event as received: its bytes, and the values that decide where it goes.

    `index` is its place in the request. `stream`, `schema` and `id` are None unless they are strings. `lacks_id`:
    `meta` is there without a key `id`, so one can be added. `lacks_request_id`: EventGate takes `meta.request_id` from
    the header.
    """

    index: int
    raw: bytes
    stream: str | None = None
    schema: str | None = None
    id: str | None = None
    lacks_id: bool = False
    lacks_request_id: bool = True
    unclear: str = ""
    """Why its stream or schema is ambiguous; empty if it is not."""

    def value_at(self, path: str) -> str | None:
        """Return the scalar at a dotted path: a string's text, else the JSON as written (`42`, `true`).

        None if there is none, or an object or an array.
        """
        return self.values_at((path,)).get(path)

    def values_at(self, paths: tuple[str, ...]) -> dict[str, str]:
        """Return the scalars found at `paths`, by path, in one pass."""
        return scalars_at(self.raw, paths)

    def order_key(self, stream: str, paths: Sequence[str]) -> str:
        """Return `stream` and the scalars at these dotted paths as a JSON array; null where there is none."""
        values = self.values_at(tuple(paths))
        return msgspec.json.encode([stream, *(values.get(path) for path in paths)]).decode()

    def with_stream_and_id(self, stream: str | None, new_id: str | None) -> bytes:
        """Return the bytes with `meta.stream` replaced and a missing `meta.id` added; None leaves either alone.

        `stream` and `new_id` are ASCII without quotes or backslashes, as `routes.language.pattern` and uuid4 ensure.
        """
        raw: bytes | None = self.raw
        if stream is not None:
            raw = self._renamed(stream)
        if raw is not None and new_id is not None and self.lacks_id:
            raw = _with_id(raw, new_id)
        return self._searched(stream, new_id) if raw is None else raw

    def _searched(self, stream: str | None, new_id: str | None) -> bytes:
        """Edit the bytes where a key-by-key search finds `meta` and `stream`."""
        _check_search(0, self.raw)
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
        """Guess the place of `"stream": "<its stream>"` and replace it there; None if it is not found."""
        if self.stream is None:
            return None
        usual = None if self.unclear else _USUAL.match(self.raw, 0, NEAR_BYTES)
        if usual is not None and usual[1].decode(errors="replace") == self.stream:
            return _replaced(usual, stream)
        place = -1
        for _ in range(GUESSES):
            place = self.raw.find(b'"stream"', place + 1)
            found = _STREAM_MEMBER.match(self.raw, place) if place >= 0 else None
            if found is None or found[1].decode(errors="replace") != self.stream:
                continue
            renamed = _replaced(found, stream)
            if _meta_of(renamed).stream == stream:  # else another key of that name is meant
                return renamed
        return None


def _replaced(found: re.Match[bytes], text: str) -> bytes:
    """Return the bytes that were searched with `text` in the place of the group."""
    raw = found.string
    return b"%b%b%b" % (raw[: found.start(1)], text.encode(), raw[found.end(1) :])


def _with_id(raw: bytes, new_id: str) -> bytes | None:
    """Guess the place of `meta` and add an id there; None if it is not found."""
    place = -1
    for _ in range(GUESSES):
        place = raw.find(b'"meta"', place + 1)
        found = _META_MEMBER.match(raw, place) if place >= 0 else None
        if found is None:
            continue
        after = raw.index(b"{", place) + 1
        given = b'%b"id":"%b"%b%b' % (raw[:after], new_id.encode(), b"" if found[1] else b",", raw[after:])
        if _meta_of(given).id == new_id:
            return given
    return None


_decode_head = msgspec.json.Decoder(_Head, dec_hook=_counted).decode
_decode_members = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _meta_of(raw: bytes) -> _Meta:
    """Return `meta`; an empty one if it cannot be read."""
    try:
        meta = _decode_head(raw).meta
    except (ValueError, RecursionError):
        return _Meta()
    return _Meta() if meta is msgspec.UNSET else meta


def _check_search(searched: int, raw: bytes) -> int:
    """Add the values of an event that must be searched to `searched`, and return the sum.

    Raises:
        BodyTooLarge: the sum is over the limit.

    """
    searched += (40 if raw[:1] == b"{" else 1) + sum(map(raw.count, (b",", b"[", b"{")))
    if searched > MAX_SEARCHED_VALUES:
        raise BodyTooLarge(
            f"the body has over {MAX_SEARCHED_VALUES} values in events that are hard to read: a lone surrogate, a key "
            "of meta that is duplicated or not a string; send its events in several requests"
        )
    return searched


def parse(body: bytes) -> tuple[Event, ...]:
    """Split a body, an object or an array, into its events.

    Raises:
        EmptyBody: no bytes, `{}` or `[]`, as lodash's isEmpty in EventGate's routes/events.js.
        MalformedBody: not JSON, or neither an object nor an array.
        BodyTooLarge: too many events or values.

    """
    if not body:
        raise EmptyBody
    if len(body) > MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BodyTooLarge(f"the body has over {MAX_VALUES} values; send its events in several requests")
    body = body.strip(_SPACE)
    if not body or body[0] not in b"{[":
        character = body[:4].decode(errors="replace")[:1] or " "
        raise MalformedBody(f"Unexpected token '{character}', \"#\" is not valid JSON")
    if body[0] == ord("{"):
        event = _event_quickly(0, body) if len(body) <= MAX_NAME else None
        if event is None:
            (event,) = _events([body])
        if event.stream is None and not body[1:-1].strip(_SPACE):
            raise EmptyBody
        return (event,)
    members = _split(body)
    if not members:
        raise EmptyBody
    return _events(members)


def _events(members: Sequence[bytes]) -> tuple[Event, ...]:
    events: list[Event] = []
    searched = 0
    for index, raw in enumerate(members):
        event = _event_quickly(index, raw)
        if event is None:
            searched = _check_search(searched, raw)
            event = _event_slowly(index, raw)
        events.append(event if len(raw) <= MAX_NAME else _with_bounded_names(event))
    return tuple(events)


def _with_bounded_names(event: Event) -> Event:
    """Cut names that are too long, and mark the event unclear."""
    names = {"meta.stream": event.stream, "$schema": event.schema}
    for where, name in names.items():
        if name is not None and len(name) > MAX_NAME:
            names[where] = name[:SHOWN] + "…"
            event = msgspec.structs.replace(event, unclear=f"its {where} has over {MAX_NAME} characters")
    id_ = event.id if event.id is None or len(event.id) <= MAX_NAME else None
    return msgspec.structs.replace(event, stream=names["meta.stream"], schema=names["$schema"], id=id_)


def _event_quickly(index: int, raw: bytes) -> Event | None:
    before = _count()
    try:
        head = _decode_head(raw)
    except RecursionError:
        if len(raw) > MAX_SEARCHED_VALUES:  # `scan` goes a few levels deeper, but costs more
            raise MalformedBody(scan.TOO_DEEP) from None
        return None
    except ValueError:  # an unexpected type, a lone surrogate, bad UTF-8, or not JSON
        return None
    counted = _count() - before - 1
    meta, schema = head.meta, None if head.schema is msgspec.UNSET else head.schema
    if meta is msgspec.UNSET:
        if counted == (schema is not None) and head.dotted is head.proto is msgspec.UNSET:
            return Event(index, raw, None, schema)
        return None
    # Another thread that reads events makes the count too high: then the slow reader decides.
    once = counted == 1 + (schema is not None) + (meta.stream is not msgspec.UNSET)
    if not (once and head.dotted is head.proto is meta.proto is msgspec.UNSET):
        return None
    return Event(
        index,
        raw,
        meta.stream if meta.stream is not msgspec.UNSET else None,
        schema,
        meta.id if meta.id is not msgspec.UNSET else None,
        meta.id is msgspec.UNSET,
        meta.request_id is None,
    )


def _event_slowly(index: int, raw: bytes) -> Event:
    """Read what msgspec refused; an array member that is not an object becomes an event without a stream."""
    text = raw.decode("latin-1")
    scan.end_of_value(text, 0, whole=True)
    if text[0] != "{":
        return Event(index, raw)
    found = scan.every(text, 0, ("$schema", "meta", "meta.stream", "__proto__"))
    unclear = _unclear([name for name, _, _ in found], "")
    top = {name: (start, end) for name, start, end in found}
    schema, meta = scan.text_at(text, top.get("$schema")), top.get("meta")
    if meta is None or text[meta[0]] != "{":
        return Event(index, raw, schema=schema, unclear=unclear)
    found = scan.every(text, meta[0], ("stream", "id", "request_id", "__proto__"))
    within = {name: (start, end) for name, start, end in found}
    stream = scan.text_at(text, within.get("stream"))
    if not unclear:
        unclear = _unclear([name for name, _, _ in found], "meta.")
    if not unclear and stream is None and "stream" in within:
        unclear = "meta.stream is not a string; EventGate would turn it into a topic name; write it as a string"
    return Event(
        index,
        raw,
        stream=stream,
        schema=schema,
        id=scan.text_at(text, within.get("id")),
        lacks_id="id" not in within,
        lacks_request_id="request_id" not in within,
        unclear=unclear,
    )


def _unclear(names: Sequence[str], where: str) -> str:
    """Return why the keys that decide stream and schema are ambiguous; empty if they are not."""
    if "meta.stream" in names:
        return 'it has a key "meta.stream", which EventGate takes for the stream; write {"meta": {"stream": …}} alone'
    if "__proto__" in names:
        return f'it has a key "{where}__proto__", from which a copy in JavaScript inherits keys; leave it out'
    twice = next((name for name in ("$schema", "meta", "stream") if names.count(name) > 1), None)
    return f'it has the key "{where}{twice}" twice; write it once' if twice else ""


def _split(body: bytes) -> list[bytes]:
    """Split an array into the exact bytes of its members."""
    try:
        members = _decode_members(body)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError) and len(body) > MAX_SEARCHED_VALUES:
            raise MalformedBody(scan.TOO_DEEP) from None
        _check_search(0, body)
        text = body.decode("latin-1")
        scan.end_of_value(text, 0, whole=True)
        return [text[start:end].encode("latin-1") for start, end in _no_more_than_are_read(list(scan.items(text)))]
    return [bytes(raw) for raw in _no_more_than_are_read(members)]


def _no_more_than_are_read(members: list[_T]) -> list[_T]:
    if len(members) > MAX_EVENTS:
        raise BodyTooLarge(f"the array has {len(members)} events; send at most {MAX_EVENTS} at once")
    return members
