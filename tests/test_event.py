"""Promises of `event`: what leaves is, byte for byte, what came.

The strategies write JSON text and not Python values dumped again: spellings are what these promises are about.
"""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
import zlib
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sidecar import event as module
from sidecar.errors import (
    BodyTooLarge,
    EmptyBody,
    IncompleteBody,
    MalformedBody,
    RequestError,
    UnsupportedBody,
)
from sidecar.event import Event, decoded, parse

NEW_STREAM = "mediawiki.revision-score-test"
NEW_ID = "5ab1b3f0-6f0a-4d69-9a3c-1b0c3ad1d6c5"
LIMIT = 10_000

thoroughly = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- JSON as text -----------------------------------------------------------------------------------------------------

space = st.text(" \t\r\n", max_size=2).map(str.encode)
numbers = st.one_of(
    st.sampled_from([b"1.0", b"-0", b"-0.0", b"1e400", b"-1E+400", b"1e-400", b"0.1e1", b"10000000000000000000000001"]),
    st.from_regex(rb"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
characters = st.one_of(
    st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]).map(str.encode),
    st.sampled_from([rb"\u00eb", rb"\u00EB", rb"\/", rb"\"", rb"\\", rb"\n", rb"\u0000", rb"\u2028"]),
    st.sampled_from([rb"\ud83d\ude00", rb"\ud800", rb"\uDC00", rb"\udc00\ud800", b"\x7f"]),
    st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf0\x9f\x98"]),  # not UTF-8
)
strings = st.lists(characters, max_size=4).map(lambda parts: b'"' + b"".join(parts) + b'"')


def spelt(word: str) -> st.SearchStrategy[bytes]:
    r"""`word` as a JSON string, any of its characters written as an escape: `"m\u0065ta"`."""
    either = [st.sampled_from([letter, f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"]) for letter in word]
    return st.one_of(st.just(f'"{word}"'), st.tuples(*either).map(lambda parts: f'"{"".join(parts)}"')).map(
        str.encode
    )


def objects(members: st.SearchStrategy[tuple[bytes, bytes]]) -> st.SearchStrategy[bytes]:
    """Objects of such keys and values, keys that stand twice among them."""
    written = st.tuples(space, members, space, space, space).map(
        lambda parts: parts[0] + parts[1][0] + parts[2] + b":" + parts[3] + parts[1][1] + parts[4]
    )
    return st.one_of(
        st.lists(written, min_size=1, max_size=5).map(lambda parts: b"{" + b",".join(parts) + b"}"),
        space.map(lambda between: b"{" + between + b"}"),
    )


def array(elements: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """An array of elements, each with the space before and behind it."""
    return b"[" + b",".join(before + element + behind for before, element, behind in elements) + b"]"


plain = st.one_of(numbers, strings, st.sampled_from([b"true", b"false", b"null", b"{}", b"[ ]"]))
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        objects(st.tuples(strings, inner)), st.lists(st.tuples(space, inner, space), max_size=3).map(array)
    ),
    max_leaves=6,
)
texts = st.one_of(spelt("mediawiki.page_change.v1"), strings)
metas = objects(
    st.one_of(
        st.tuples(spelt("stream"), st.one_of(texts, values)),
        st.tuples(spelt("id"), st.one_of(texts, values)),
        st.tuples(st.one_of(spelt("dt"), strings), values),
    )
)
events = objects(
    st.one_of(
        st.tuples(spelt("meta"), metas),
        st.tuples(spelt("meta"), st.one_of(metas, values)),
        st.tuples(spelt("$schema"), st.one_of(texts, values)),
        st.tuples(st.one_of(spelt("page"), strings), values),
    )
)


def as_read(raw: bytes) -> Any:
    """The value EventGate sees: bytes that are not UTF-8 are U+FFFD, the last of equal keys counts."""
    return json.loads(raw.decode(errors="replace"), parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def text_of(value: Any) -> str | None:
    """The text that routing sees in a value, None where it is no text."""
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else None


def meta_of(value: Any) -> dict[str, Any] | None:
    """The `meta` of an event, None where it is no object."""
    meta = value.get("meta") if isinstance(value, dict) else None
    return meta if isinstance(meta, dict) else None


# --- splitting and reading --------------------------------------------------------------------------------------------


@thoroughly
@given(st.lists(st.tuples(space, st.one_of(events, values), space), min_size=1, max_size=5), space, space)
def test_an_array_is_split_into_the_bytes_it_was_made_of(
    elements: list[tuple[bytes, bytes, bytes]], before: bytes, behind: bytes
) -> None:
    """Each event of an array is the slice of the body between its commas, without the space around it."""
    found = parse(before + array(elements) + behind)
    assert [(event.index, event.raw) for event in found] == list(enumerate(raw for _, raw, _ in elements))


@thoroughly
@given(events.filter(lambda raw: raw.strip(b"{} \t\r\n") != b""), space, space)
def test_a_lone_object_is_its_own_bytes(raw: bytes, before: bytes, behind: bytes) -> None:
    """A body that is one object is one event, without the space around it."""
    assert [(event.index, event.raw) for event in parse(before + raw + behind)] == [(0, raw)]


@thoroughly
@given(st.one_of(events, values))
def test_an_event_is_read_as_eventgate_reads_it(raw: bytes) -> None:
    """Stream, schema and id are those that JSON.parse finds: escaped keys are keys, the last of equal ones counts."""
    value = as_read(raw)
    meta = meta_of(value)
    assert parse(b"[" + raw + b"]") == (
        Event(
            index=0,
            raw=raw,
            stream=text_of((meta or {}).get("stream")),
            schema=text_of(value.get("$schema")) if isinstance(value, dict) else None,
            id=text_of((meta or {}).get("id")),
            lacks_id=meta is not None and "id" not in meta,
        ),
    )


@thoroughly
@given(st.one_of(events, values))
def test_both_readers_read_the_same(raw: bytes) -> None:
    """Whatever msgspec takes, the slow reader takes too, and finds the same in it."""
    assert module._event(3, raw) == module._event_slowly(3, raw)


@thoroughly
@given(events)
def test_a_value_is_found_where_its_path_leads(raw: bytes) -> None:
    """`value_at` gives a string's text and any other scalar as it is written; objects and arrays are nothing."""
    (event,) = parse(b"[" + raw + b"]")
    for path in ("meta.stream", "meta.id", "meta", "page", "meta.dt.x"):
        value: Any = as_read(raw)
        for key in path.split("."):
            value = value.get(key, {}) if isinstance(value, dict) else {}
        found = event.value_at(path)
        if isinstance(value, (dict, list)):
            assert found is None
        elif isinstance(value, str):
            assert found == text_of(value)
        else:
            assert found is not None
            assert json.dumps(json.loads(found)) == json.dumps(value)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param("page.page_id", "42.0", id="a number as written"),
        pytest.param("page.is_redirect", "false", id="a truth value"),
        pytest.param("page.revision", "null", id="null"),
        pytest.param("page.title", "Zoë", id="a string without its quotes and escapes"),
        pytest.param("page", None, id="an object"),
        pytest.param("tags", None, id="an array"),
        pytest.param("tags.0", None, id="no way into an array"),
        pytest.param("page.page_id.x", None, id="no way into a number"),
        pytest.param("wiki", None, id="not there"),
    ],
)
def test_a_path_leads_to_a_scalar(path: str, found: str | None) -> None:
    """A dotted path leads through objects to a scalar, or to nothing."""
    raw = rb'{"page": {"page_id":42.0 ,"is_redirect":false,"revision":null,"title":"Zo\u00eb"}, "tags": ["x"]}'
    assert parse(raw)[0].value_at(path) == found


# --- the two changes --------------------------------------------------------------------------------------------------


@thoroughly
@given(events)
def test_an_event_with_nothing_to_change_keeps_its_bytes(raw: bytes) -> None:
    """Without a new stream and a new id, and where neither has a place, no byte changes."""
    (event,) = parse(b"[" + raw + b"]")
    assert event.with_stream_and_id(None, None) == raw
    if not event.lacks_id:
        assert event.with_stream_and_id(None, NEW_ID) == raw
    if "stream" not in (meta_of(as_read(raw)) or {}):
        assert event.with_stream_and_id(NEW_STREAM, None) == raw


@thoroughly
@example(rb'{"meta":{"stream":1,"id":"a"},"\u006deta" : {"stre\u0061m":"\ud800", "stream" :"b"} ,"x":1e400}', True, True)
@given(events, st.booleans(), st.booleans())
def test_only_the_stream_and_a_missing_id_change(raw: bytes, rename: bool, identify: bool) -> None:  # noqa: FBT001
    """Taking out what was put in gives the event back byte for byte, and nothing else of its meaning changes."""
    (event,) = parse(b"[" + raw + b"]")
    found = event.with_stream_and_id(NEW_STREAM if rename else None, NEW_ID if identify else None)
    wanted = as_read(raw)
    meta = meta_of(wanted)
    old_stream = meta.get("stream") if meta else None
    renamed = meta is not None and rename and "stream" in meta
    identified = meta is not None and identify and "id" not in meta
    if meta is not None and renamed:
        meta["stream"] = NEW_STREAM
    if meta is not None and identified:
        meta["id"] = NEW_ID
    assert json.dumps(as_read(found), sort_keys=True) == json.dumps(wanted, sort_keys=True)

    assert found.count(NEW_ID.encode()) == identified
    before = re.sub(b'"id":"%b",?' % NEW_ID.encode(), b"", found)
    if not renamed:
        assert before == raw
        return
    head, tail = before.split(b'"%b"' % NEW_STREAM.encode())
    assert raw.startswith(head)
    assert raw.endswith(tail)
    replaced = raw[len(head) : len(raw) - len(tail)]
    assert json.dumps(as_read(replaced)) == json.dumps(old_stream)


@pytest.mark.parametrize(
    ("raw", "changed"),
    [
        pytest.param(
            b'{"meta": {"stream":"a"}}', b'{"meta": {"id":"ID","stream":"NEW"}}', id="both, nothing else in meta"
        ),
        pytest.param(b'{"meta":{ }}', b'{"meta":{"id":"ID" }}', id="an empty meta gets an id and no stream"),
        pytest.param(b'{"meta":{"id":7,"stream":"a"}}', b'{"meta":{"id":7,"stream":"NEW"}}', id="an id of any kind stays"),
        pytest.param(b'{"meta":{"stream":["a"]}}', b'{"meta":{"id":"ID","stream":"NEW"}}', id="a stream that is no text"),
        pytest.param(b'{"meta":[{"stream":"a"}]}', b'{"meta":[{"stream":"a"}]}', id="a meta that is no object"),
        pytest.param(b'{"stream":"a"}', b'{"stream":"a"}', id="no meta"),
        pytest.param(
            b'{"x":{"meta":{"stream":"a"}},"meta":{"stream":"\xff"}}',
            b'{"x":{"meta":{"stream":"a"}},"meta":{"id":"ID","stream":"NEW"}}',
            id="only the meta of the event itself",
        ),
    ],
)
def test_the_cuts_are_where_they_belong(raw: bytes, changed: bytes) -> None:
    """The id becomes the first key of `meta`, the stream takes the place of the old one."""
    assert parse(raw)[0].with_stream_and_id("NEW", "ID") == changed


# --- what is no event -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b" \r\n\t", b"{}", b" { \n} ", b"[]", b"[ ]"], ids=lambda body: repr(body.decode())
)
def test_an_empty_body_is_told_apart(body: bytes) -> None:
    """No bytes, an empty object and an empty array are what EventGate calls an empty body."""
    with pytest.raises(EmptyBody, match=r"^Request body was empty\. Must provide JSON encoded events\.$"):
        parse(body)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param(b"5", "Unexpected token '5', \"#\" is not valid JSON", id="a number"),
        pytest.param('"ë"'.encode(), "Unexpected token '\"', \"#\" is not valid JSON", id="a string"),
        pytest.param("ë".encode(), "Unexpected token 'ë', \"#\" is not valid JSON", id="not ASCII"),
        pytest.param(b"\xff", "Unexpected token '\ufffd', \"#\" is not valid JSON", id="not UTF-8"),
        pytest.param(b'{"a":', "Unexpected end of JSON input", id="half an object"),
        pytest.param(b"[", "Unexpected end of JSON input", id="half an array"),
        pytest.param(b'{"a":1} {"b":2}', "Unexpected non-whitespace character after JSON at byte 7", id="two objects"),
        pytest.param(b'{"a":NaN}', "NaN is not valid JSON", id="NaN"),
        pytest.param(b"[1,-Infinity]", "-Infinity is not valid JSON", id="infinity"),
        pytest.param(b"{'a':1}", "Expecting property name enclosed in double quotes at byte 1 is not valid JSON", id="quotes"),
        pytest.param(b'{"a":01}', "Expecting ',' delimiter at byte 6 is not valid JSON", id="a leading zero"),
        pytest.param(b'["a\nb"]', "Invalid control character at at byte 3 is not valid JSON", id="a control character"),
    ],
)
def test_malformed_json_is_refused_in_words(body: bytes, detail: str) -> None:
    """What is no JSON is refused as EventGate refuses it, saying where it stops being JSON."""
    with pytest.raises(MalformedBody) as refusal:
        parse(body)
    assert refusal.value.detail == detail


def assert_read_as_by_eventgate(body: bytes) -> None:
    """Fail unless `body` is taken where it is JSON with something in it, and else refused by a RequestError."""
    try:
        value = as_read(body)
    except ValueError:
        value = None
    try:
        found = parse(body)
    except RequestError:
        assert not (value and isinstance(value, (dict, list)))
        return
    assert [as_read(event.raw) for event in found] == (value if isinstance(value, list) else [value])
    for event in found:
        event.with_stream_and_id(NEW_STREAM, NEW_ID)
        event.value_at("meta.stream")


@thoroughly
@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_taken_or_refused(body: bytes) -> None:
    """No bytes make the reader raise anything but a refusal."""
    assert_read_as_by_eventgate(body)
    assert_read_as_by_eventgate(b"[" + body + b"]")
    assert_read_as_by_eventgate(b'{"meta":' + body + b"}")


@thoroughly
@given(events, st.integers(0), st.integers(0, 255))
def test_json_with_one_byte_changed_is_taken_or_refused(raw: bytes, place: int, byte: int) -> None:
    """Whatever one wrong byte makes of an event, it is taken where it is still JSON and refused where not."""
    place %= len(raw)
    broken = raw[:place] + bytes([byte]) + raw[place + 1 :]
    assert_read_as_by_eventgate(broken)
    assert_read_as_by_eventgate(b"[" + raw + b"," + broken + b"]")


@pytest.mark.parametrize("levels", [5_000, 1_000_000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        pytest.param(b"[", b"]", id="arrays"),
        pytest.param(b'{"meta":', b"}", id="objects"),
        pytest.param(b'[{"a":', b"}]", id="both"),
        pytest.param(b"[", b"", id="never closed"),
    ],
)
def test_deep_nesting_is_refused(opening: bytes, closing: bytes, levels: int) -> None:
    """A body nested deeper than any event is refused, and harms nothing."""
    with pytest.raises(MalformedBody, match="^nested too deeply: an event may have a few hundred levels$"):
        parse(opening * levels + b"1" + closing * levels)


def test_nesting_is_taken_whole_or_refused() -> None:
    """However deep an event is nested, it is refused or can be changed, and a few hundred levels are taken."""
    taken = []
    for levels in range(100, 1200, 10):
        deep = b"[" * levels + b"]" * levels
        try:
            found = parse(b'{"deep":%b,"meta":{"stream":"a"}}' % deep)[0].with_stream_and_id("b", None)
        except MalformedBody:
            continue
        assert found == b'{"deep":%b,"meta":{"stream":"b"}}' % deep
        taken.append(levels)
    assert set(range(100, 500, 10)) <= set(taken)
