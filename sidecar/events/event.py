"""A request body becomes events; an event is its bytes.

Events are never parsed and written again: number formats, key order, unknown keys and escapes must reach
EventGate as the producer wrote them. So an `Event` is a slice of the body and the few words that routing
needs, and the two changes we may make (`meta.stream` and a missing `meta.id`) are cuts in that slice.

Two readers see each body. msgspec takes what it can, in about a microsecond. What it refuses although
EventGate (V8's JSON.parse) takes it, lone surrogates above all, and every cut, goes through `scan`,
which finds the exact place of each key with the standard library's scanner. Where both refuse, it is not JSON.
If an object has a key twice, the last one counts, as in JSON.parse.

EventGate looks `meta.stream` up with lodash, and writes what it finds into the name of a Kafka topic. An event whose
stream, or the key it is found by, could be read in more than one way is `unclear`, and no route takes it.
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
"""Events in one array: as many of the usual size, 1 kB, as a body of 10 MB holds. Each costs a few hundred bytes
and some 20 microseconds, during which nobody else is served."""
MAX_VALUES = 500_000
"""Values, of whatever kind, in one body, counted by the commas and brackets in it. Reading a body key by key takes
up to a microsecond for each."""

MAX_SEARCHED_VALUES = 20_000
"""Values of the events of a body that have to be searched key by key, since msgspec does not read them; and of one in
which the place of `meta` cannot be guessed."""
MAX_NAME = 4096
"""Characters of a stream or a schema; Kafka takes 249 for a topic. A longer id is none that an event is known by."""
SHOWN = 100
"""Characters that are kept of a longer one."""
GUESSES = 3
"""How many places are tried before an event is searched."""

_T = TypeVar("_T")
_SPACE = b" \t\r\n"
_META_MEMBER = re.compile(rb'"meta"[ \t\r\n]*:[ \t\r\n]*\{([ \t\r\n]*\})?')
_STREAM_MEMBER = re.compile(rb'"stream"[ \t\r\n]*:[ \t\r\n]*"([^"\\]*)"')


_count = itertools.count().__next__
"""Counts the keys that are read of all events, so that a duplicate is found at no cost for the others."""


class _AnyString(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, str)


if TYPE_CHECKING:
    _Counted = str
else:

    class _Counted(metaclass=_AnyString):
        """A string whose reading is counted: to msgspec a type of our own, for which it calls `_counted` each time."""


def _counted(_: type, value: object) -> object:
    _count()
    return value


class _Meta(msgspec.Struct):
    stream: _Counted | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType | None = msgspec.UNSET
    request_id: str | None = None
    proto: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="__proto__", default=msgspec.UNSET)

    def __post_init__(self) -> None:
        """Count it, like a `_Counted`."""
        _count()


class _Head(msgspec.Struct):
    schema: _Counted | msgspec.UnsetType = msgspec.field(name="$schema", default=msgspec.UNSET)
    meta: _Meta | msgspec.UnsetType = msgspec.UNSET
    dotted: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="meta.stream", default=msgspec.UNSET)
    proto: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="__proto__", default=msgspec.UNSET)


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
    unclear: str = ""
    """Why its stream or schema could be read in more than one way; empty where there is one way."""

    def value_at(self, path: str) -> str | None:
        """Return the scalar at a dotted path as text: a string's text, else the JSON as written (`42`, `true`).

        None where there is nothing, or an object or an array.
        """
        return self.values_at((path,)).get(path)

    def values_at(self, paths: tuple[str, ...]) -> dict[str, str]:
        """Return the scalars at all of `paths` that are there, by path; the event is read once."""
        return scalars_at(self.raw, paths)

    def order_key(self, stream: str, paths: Sequence[str]) -> str:
        """Return `stream` and what the event has at these dotted paths, as JSON; null where there is no scalar."""
        values = self.values_at(tuple(paths))
        return msgspec.json.encode([stream, *(values.get(path) for path in paths)]).decode()

    def with_stream_and_id(self, stream: str | None, new_id: str | None) -> bytes:
        """Return the bytes with `meta.stream` replaced and a missing `meta.id` put in; None leaves either alone.

        `stream` and `new_id` are plain ASCII without quotes or backslashes: `routes.pattern` and uuid4 see to that.
        """
        raw: bytes | None = self.raw
        if stream is not None:
            raw = self._renamed(stream)
        if raw is not None and new_id is not None and self.lacks_id:
            raw = _with_id(raw, new_id)
        return self._searched(stream, new_id) if raw is None else raw

    def _searched(self, stream: str | None, new_id: str | None) -> bytes:
        """Return the bytes as changed where a search key by key finds `meta` and `stream`."""
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
        """Return the bytes with the place replaced that reads `"stream": "<its stream>"`.

        None where it is not found: then it is to be searched for.
        """
        raw, place = self.raw, -1
        for _ in range(GUESSES if self.stream is not None else 0):
            place = raw.find(b'"stream"', place + 1)
            found = _STREAM_MEMBER.match(raw, place) if place >= 0 else None
            if found is None or found[1].decode("utf-8", errors="replace") != self.stream:
                continue
            renamed = b"%b%b%b" % (raw[: found.start(1)], stream.encode(), raw[found.end(1) :])
            # The key that is meant may be another of that name, or be written with escapes.
            sure = b"\\" not in raw and raw.find(b'"stream"') == place and raw.find(b'"stream"', place + 1) < 0
            if sure or _meta_of(renamed).stream == stream:
                return renamed
        return None


def _with_id(raw: bytes, new_id: str) -> bytes | None:
    """Return the bytes with an id put into `meta`; None where its place is not found."""
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
    """Return what is read of `meta`, which is nothing where it cannot be."""
    try:
        meta = _decode_head(raw).meta
    except (ValueError, RecursionError):
        return _Meta()
    return _Meta() if meta is msgspec.UNSET else meta


def _check_search(searched: int, raw: bytes) -> int:
    """Return `searched` and the values of one more event that has to be searched.

    Raises:
        BodyTooLarge: they are more than is searched while others wait.

    """
    searched += (40 if raw[:1] == b"{" else 1) + sum(map(raw.count, (b",", b"[", b"{")))
    if searched > MAX_SEARCHED_VALUES:
        raise BodyTooLarge(
            f"the body has over {MAX_SEARCHED_VALUES} values in events that are hard to read: a lone surrogate, a key "
            "of meta that is duplicated or not a string; send its events in several requests"
        )
    return searched


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
    """Return the event without names that are too long to be looked at, compared, written or kept."""
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
        if len(raw) > MAX_SEARCHED_VALUES:  # a search may go a few levels deeper, at its cost
            raise MalformedBody(scan.TOO_DEEP) from None
        return None
    except ValueError:  # a type we did not expect, a lone surrogate, bad UTF-8, or no JSON
        return None
    counted = _count() - before - 1
    meta, schema = head.meta, None if head.schema is msgspec.UNSET else head.schema
    if meta is msgspec.UNSET:
        if counted == (schema is not None) and head.dotted is head.proto is msgspec.UNSET:
            return Event(index, raw, None, schema)
        return None
    # A thread that reads events meanwhile makes the count too high: then the slow way tells.
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
    """Read what msgspec refused; an array member that is no object is an event without any words."""
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
        unclear = "meta.stream is not a string; EventGate would make a topic's name of it; write it as a string"
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
    """Return why these keys of an object, of those that decide a stream or a schema, can be read in two ways."""
    if "meta.stream" in names:
        return 'it has a key "meta.stream", which EventGate takes for the stream; write {"meta": {"stream": …}} alone'
    if "__proto__" in names:
        return f'it has a key "{where}__proto__", from which a copy in JavaScript inherits keys; leave it out'
    twice = next((name for name in ("$schema", "meta", "stream") if names.count(name) > 1), None)
    return f'it has the key "{where}{twice}" twice; write it once' if twice else ""


def _split(body: bytes) -> list[bytes]:
    """Return the exact bytes of each member of an array."""
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
