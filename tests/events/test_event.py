"""Promises of `event`: events keep their bytes."""

from __future__ import annotations

import contextlib
import json
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.errors import (
    BodyTooLarge,
    EmptyBody,
    MalformedBody,
    RequestError,
)
from sidecar.events import event as module
from sidecar.events.event import GUESSES, MAX_EVENTS, MAX_NAME, MAX_SEARCHED_VALUES, MAX_VALUES, SHOWN, Event, parse
from tests.jsontext import Json, array, as_read, events, meta_of, space, text_of, unhurried, values

NEW_STREAM = "mediawiki.revision-score-test"
NEW_ID = "5ab1b3f0-6f0a-4d69-9a3c-1b0c3ad1d6c5"
LIMIT = 10_000
DATA = Path(__file__).parent.parent / "data"


# --- splitting and reading ----------------------------------------------------------------------------------


@unhurried
@given(st.lists(st.tuples(space, st.one_of(events, values), space), min_size=1, max_size=5), space, space)
def test_an_array_is_split_into_the_bytes_of_its_events(
    elements: list[tuple[bytes, bytes, bytes]], before: bytes, behind: bytes
) -> None:
    """Each event of an array is the slice of the body between its commas, without white space around it."""
    found = parse(before + array(elements) + behind)
    assert [(event.index, event.raw) for event in found] == list(enumerate(raw for _, raw, _ in elements))


@unhurried
@given(events.filter(lambda raw: raw.strip(b"{} \t\r\n") != b""), space, space)
def test_a_lone_object_keeps_its_bytes(raw: bytes, before: bytes, behind: bytes) -> None:
    """A body that is one object is one event, without the white space around it."""
    assert [(event.index, event.raw) for event in parse(before + raw + behind)] == [(0, raw)]


@unhurried
@given(st.one_of(events, values))
def test_an_event_is_read_as_eventgate_reads_it(raw: bytes) -> None:
    """Stream, schema and id are those that JSON.parse finds: the last of equal keys counts, however written."""
    value = as_read(raw)
    meta = meta_of(value)
    (found,) = parse(b"[" + raw + b"]")
    assert found == (
        Event(
            index=0,
            raw=raw,
            stream=text_of((meta or {}).get("stream")),
            schema=text_of(value.get("$schema")) if isinstance(value, dict) else None,
            id=text_of((meta or {}).get("id")),
            lacks_id=meta is not None and "id" not in meta,
            unclear=found.unclear,
        )
    )


@unhurried
@given(st.one_of(events, values))
def test_both_readers_agree(raw: bytes) -> None:
    """The slow reader finds the same in every event that msgspec reads."""
    quickly = module._event_quickly(3, raw)
    assert quickly is None or quickly == module._event_slowly(3, raw)


ODD = [json.loads(line) for line in (DATA / "odd_streams.jsonl").read_text(encoding="utf-8").splitlines()]
"""Bodies with the name that EventGate 1.8.4 made a topic of; None where it found no stream."""


def test_no_event_goes_to_a_stream_that_was_not_checked() -> None:
    """For every recorded odd event, the stream found is EventGate's, or the event is unclear."""
    wrong = []
    for body, stream in ODD:
        with contextlib.suppress(RequestError):
            (event,) = parse(body.encode())
            if not event.unclear and event.stream != text_of(stream):
                wrong.append((body, stream, event.stream))
    assert wrong == []


GOOD = '"$schema":"/s","meta":{"stream":"s","id":"1"}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(f'{{{GOOD},"meta.stream":"x"}}', "meta.stream", id="a dotted key"),
        pytest.param(f'{{"meta.stream":"x",{GOOD}}}', "meta.stream", id="a dotted key before meta"),
        pytest.param(f'{{{GOOD},"meta\\u002estream":"x"}}', "meta.stream", id="a dotted key with an escape"),
        pytest.param(f'{{{GOOD},"\\u006Deta.stream":{{}}}}', "meta.stream", id="a dotted key that is an object"),
        pytest.param('{"meta.stream":"x"}', "meta.stream", id="a dotted key alone"),
        pytest.param(f'{{"meta":{{"stream":"x"}},{GOOD}}}', "meta", id="meta twice"),
        pytest.param(f'{{"m\\u0065ta":7,{GOOD}}}', "meta", id="meta twice, with an escape"),
        pytest.param('{"meta":{"stream":"x","stream":"s"}}', "meta.stream", id="stream twice"),
        pytest.param('{"meta":{"stre\\u0061m":null,"stream":"s"}}', "meta.stream", id="stream twice, with an escape"),
        pytest.param(f'{{"$schema":"/t",{GOOD}}}', "$schema", id="schema twice"),
        pytest.param('{"$schema":"/t","$schema":"/s"}', "$schema", id="schema twice, without meta"),
        pytest.param(f'{{{GOOD},"__proto__":{{}}}}', "__proto__", id="a prototype"),
        pytest.param('{"meta":{"stream":"s","__proto__":{}}}', "meta.__proto__", id="a prototype in meta"),
        pytest.param('{"meta":{"stream":["s"]}}', "meta.stream is not a string", id="an array as stream"),
        pytest.param('{"meta":{"stream":5}}', "meta.stream is not a string", id="a number as stream"),
        pytest.param('{"meta":{"stream":null}}', "meta.stream is not a string", id="null as stream"),
    ],
)
def test_an_ambiguous_stream_or_schema_is_unclear(body: str, words: str) -> None:
    """The reason names the key, for a lone event and in an array."""
    (alone,) = parse(body.encode())
    _, among_others = parse(f"[{{{GOOD}}},{body}]".encode())
    assert words in alone.unclear
    assert words in among_others.unclear


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f'{{{GOOD},"x":{{"meta.stream":"y","meta":1,"stream":2,"__proto__":3}}}}', id="further inside"),
        pytest.param(f'{{{GOOD},"x":"\\"meta.stream\\":"}}', id="in a text"),
        pytest.param(f'{{{GOOD},"meta.stream2":"y","Meta":1,"stream":2,"meta.id":3}}', id="other keys"),
        pytest.param('{"meta":{"stream":"s","meta":{"stream":"t"}}}', id="meta in meta"),
        pytest.param('{"meta":{"id":"1"}}', id="no stream"),
        pytest.param('{"meta":["s"]}', id="meta is an array"),
        pytest.param('{"meta":"s","x":1}', id="meta is a string"),
    ],
)
def test_the_same_keys_elsewhere_are_not_ambiguous(body: str) -> None:
    """The same words elsewhere in an event have no effect."""
    (event,) = parse(body.encode())
    assert event.unclear == ""


@unhurried
@given(events)
def test_value_at_finds_scalars(raw: bytes) -> None:
    """`value_at` returns a string's text, and any other scalar as it is written."""
    (event,) = parse(b"[" + raw + b"]")
    for path in ("meta.stream", "meta.id", "meta", "page", "meta.dt.x"):
        value: Json = as_read(raw)
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
def test_a_path_leads_to_a_scalar_or_to_nothing(path: str, found: str | None) -> None:
    """A dotted path leads through objects only."""
    raw = rb'{"page": {"page_id":42.0 ,"is_redirect":false,"revision":null,"title":"Zo\u00eb"}, "tags": ["x"]}'
    assert parse(raw)[0].value_at(path) == found


# --- the two changes ----------------------------------------------------------------------------------------


@unhurried
@given(events)
def test_an_event_with_nothing_to_change_keeps_its_bytes(raw: bytes) -> None:
    """Without a new stream or id, or without a place for them, no byte changes."""
    (event,) = parse(b"[" + raw + b"]")
    assert event.with_stream_and_id(None, None) == raw
    if not event.lacks_id:
        assert event.with_stream_and_id(None, NEW_ID) == raw
    if "stream" not in (meta_of(as_read(raw)) or {}):
        assert event.with_stream_and_id(NEW_STREAM, None) == raw


@unhurried
@example(rb'{"meta":{"id":"a"},"\u006deta" : {"stre\u0061m":"\ud800", "stream" :"b"} ,"x":1e400}', {"stream", "id"})
@given(events, st.sets(st.sampled_from(["stream", "id"])))
def test_only_the_stream_and_a_missing_id_change(raw: bytes, change: set[str]) -> None:
    """Undoing the edits restores the event byte for byte, and nothing else changes its meaning."""
    (event,) = parse(b"[" + raw + b"]")
    found = event.with_stream_and_id(NEW_STREAM if "stream" in change else None, NEW_ID if "id" in change else None)
    wanted = as_read(raw)
    meta = meta_of(wanted)
    old_stream = meta.get("stream") if meta else None
    renamed = meta is not None and "stream" in change & meta.keys()
    identified = meta is not None and "id" in change - meta.keys()
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
    ("meta", "changed"),
    [
        pytest.param('{"stream":"a"}', '{"id":"ID","stream":"NEW"}', id="both"),
        pytest.param("{ }", '{"id":"ID" }', id="an empty meta gets an id and no stream"),
        pytest.param('{"id":7,"stream":"a"}', '{"id":7,"stream":"NEW"}', id="an id of any kind stays"),
        pytest.param('{"stream":["a"]}', '{"id":"ID","stream":"NEW"}', id="a stream that is not a string"),
        pytest.param('["stream"]', '["stream"]', id="a meta that is not an object"),
    ],
)
def test_edits_are_made_in_meta_only(meta: str, changed: str) -> None:
    """The id becomes the first key of `meta`, and the stream replaces the old one, only there."""
    raw = '{"x": {"meta":{"stream":"a"}}, "stream":"a", "meta" : META }'
    (event,) = parse(raw.replace("META", meta).encode())
    assert event.with_stream_and_id("NEW", "ID").decode() == raw.replace("META", changed)


# --- what is no event ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{}", b" { \n} ", b"[]", b"[ ]"], ids=lambda body: repr(body.decode()))
def test_an_empty_body_has_its_own_error(body: bytes) -> None:
    """No bytes, an empty object and an empty array are empty bodies, as in EventGate."""
    with pytest.raises(EmptyBody, match=r"^Request body was empty\. Must provide JSON encoded events\.$"):
        parse(body)


DOUBLE_QUOTES = "Expecting property name enclosed in double quotes at byte 1 of the JSON"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param(b" \n", "Unexpected token ' ', \"#\" is not valid JSON", id="only white space"),
        pytest.param(b"5", "Unexpected token '5', \"#\" is not valid JSON", id="a number"),
        pytest.param('"ë"'.encode(), 'Unexpected token \'"\', "#" is not valid JSON', id="a string"),
        pytest.param("ë".encode(), "Unexpected token 'ë', \"#\" is not valid JSON", id="not ASCII"),
        pytest.param(b"\xff", "Unexpected token '\ufffd', \"#\" is not valid JSON", id="not UTF-8"),
        pytest.param(b'{"a":', "Unexpected end of JSON input", id="half an object"),
        pytest.param(b"[", "Unexpected end of JSON input", id="half an array"),
        pytest.param(b'\x0c{"a":1}', "Unexpected token '\x0c', \"#\" is not valid JSON", id="space that JSON has not"),
        pytest.param(b"{} {}", "Unexpected non-whitespace character after JSON at byte 2", id="two objects"),
        pytest.param(b'{"a":NaN}', "NaN is not valid JSON", id="NaN"),
        pytest.param(b"[1,-Infinity]", "-Infinity is not valid JSON", id="infinity"),
        pytest.param(b"{1:2}", DOUBLE_QUOTES, id="a key that is no string"),
        pytest.param(b'{"a":01}', "Expecting ',' delimiter at byte 6 of the JSON", id="a leading zero"),
        pytest.param(b'["\n"]', "Invalid control character at byte 2 of the JSON", id="a line break"),
    ],
)
def test_malformed_json_is_refused_with_its_place(body: bytes, detail: str) -> None:
    """The error is like EventGate's, and says where the body stops being JSON."""
    with pytest.raises(MalformedBody) as refusal:
        parse(body)
    assert refusal.value.detail == detail


def assert_read_as_by_eventgate(body: bytes) -> None:
    """Fail unless `body` is accepted if it is non-empty JSON, and refused otherwise."""
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


@unhurried
@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_accepted_or_refused(body: bytes) -> None:
    """No bytes make the reader raise any other exception."""
    assert_read_as_by_eventgate(body)
    assert_read_as_by_eventgate(b"[" + body + b"]")
    assert_read_as_by_eventgate(b'{"meta":' + body + b"}")


@unhurried
@given(events, st.integers(0), st.integers(0, 255))
def test_json_with_one_changed_byte_is_accepted_or_refused(raw: bytes, place: int, byte: int) -> None:
    """It is accepted if it is still JSON, and refused otherwise."""
    place %= len(raw)
    broken = raw[:place] + bytes([byte]) + raw[place + 1 :]
    assert_read_as_by_eventgate(broken)
    assert_read_as_by_eventgate(b"[" + raw + b"," + broken + b"]")


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        pytest.param(b"[", b"]", id="arrays"),
        pytest.param(b'{"meta":', b"}", id="objects"),
        pytest.param(b'[{"a":', b"}]", id="both"),
        pytest.param(b"[", b"", id="never closed"),
    ],
)
def test_very_deep_nesting_is_refused(opening: bytes, closing: bytes) -> None:
    """A million levels are refused without harm; five thousand are accepted or refused."""
    with contextlib.suppress(MalformedBody):  # where Python stops depends on its version
        parse(opening * 5_000 + b"1" + closing * 5_000)[0].with_stream_and_id(NEW_STREAM, NEW_ID)
    with pytest.raises(MalformedBody, match=r"^nested too deeply: an event may have a few hundred levels$"):
        parse(opening * 100_000 + b"1" + closing * 100_000)
    with pytest.raises(BodyTooLarge, match=r"^the body has over 500000 values; send its events in several requests$"):
        parse(opening * 1_000_000 + b"1" + closing * 1_000_000)


def test_an_array_has_a_maximum_of_events() -> None:
    """One event over the limit is refused, by the quick reader and by the slow one."""
    for member in (b"{}", b'"\\ud800"'):
        body = b",".join([member] * MAX_EVENTS)
        assert len(parse(b"[%b]" % body)) == MAX_EVENTS
        with pytest.raises(BodyTooLarge, match=r"^the array has 10001 events; send at most 10000 at once$"):
            parse(b"[%b,%b]" % (body, member))


def test_a_body_has_a_maximum_of_values() -> None:
    """An event at the limit can be edited; a wider one is refused before memory is taken for it."""
    wide = b'{"meta":{"stream":"a"},%b}' % b",".join(b'"%d":1' % number for number in range(MAX_VALUES - 3))
    (event,) = parse(wide)
    assert event.with_stream_and_id("b", "c").startswith(b'{"meta":{"id":"c","stream":"b"},')
    wider = b"[%b1]" % (b"1," * 5_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            parse(wider)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_nested_event_can_be_edited_or_is_refused() -> None:
    """A few hundred levels are accepted."""
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


def test_an_order_key_is_the_stream_and_the_values() -> None:
    """Missing values and values that are not scalars are null."""
    (event,) = parse(b'{"meta":{"stream":"s"},"wiki_id":"de\\u0077iki","page":{"page_id":7,"tags":[]}}')
    paths = ["wiki_id", "page.page_id", "page.tags", "nothing"]
    assert event.order_key("t", paths) == '["t","dewiki","7",null,null]'


# --- nothing of any size costs much ---


@pytest.mark.parametrize("name", ["x" * (MAX_NAME + 1), "\U0001f600" * (MAX_NAME + 1)])
@pytest.mark.parametrize(("key", "where"), [("stream", "meta.stream"), ("$schema", "$schema")])
def test_a_long_name_is_cut_and_not_routed(name: str, key: str, where: str) -> None:
    """It is neither compared nor copied."""
    value = {"$schema": "/a", "meta": {"stream": "s"}}
    (value if key == "$schema" else value["meta"])[key] = name  # type: ignore[index]
    (event,) = parse(json.dumps(value).encode())
    assert event.unclear == f"its {where} has over {MAX_NAME} characters"
    assert (event.stream if key == "stream" else event.schema) == name[:SHOWN] + "…"


def test_a_long_id_is_ignored() -> None:
    """It is there, so none is added; but it does not identify the event."""
    (event,) = parse(json.dumps({"meta": {"stream": "s", "id": "x" * (MAX_NAME + 1)}}).encode())
    assert (event.id, event.lacks_id, event.unclear) == (None, False, "")


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b'{"meta":{"stream":"\\ud800"}}'] * 1000) + b"]",
        b'{"meta":{"stream":5},"x":[' + b"1," * MAX_SEARCHED_VALUES + b"1]}",
        b'[{"a":[' + b"1," * MAX_SEARCHED_VALUES,
    ],
    ids=["many", "wide", "no JSON"],
)
def test_searches_key_by_key_are_bounded(body: bytes) -> None:
    """Such events are rare, and others wait meanwhile."""
    with pytest.raises(BodyTooLarge, match="values in events that are hard to read"):
        parse(body)


@pytest.mark.parametrize("decoys", [0, GUESSES - 1, GUESSES])
def test_edits_find_their_place_among_similar_ones(decoys: int) -> None:
    """`meta` and `stream` of the event itself are changed, whether guessed or searched for."""
    decoy = b"".join(b'"d%d":{"meta":{"stream":"s"}},' % number for number in range(decoys))
    (event,) = parse(b'{%b"meta" : {"stream":"s"}}' % decoy)
    assert event.with_stream_and_id("new", "1") == b'{%b"meta" : {"id":"1","stream":"new"}}' % decoy


def test_an_event_too_wide_to_search_is_refused() -> None:
    """If guessing does not find `meta`, a search would take too long."""
    decoys = b"".join(b'"d%d":{"meta":{"stream":"s"}},' % number for number in range(GUESSES))
    raw = b'{%b"x":[%b1],"meta":{"stream":"s"}}' % (decoys, b"1," * MAX_SEARCHED_VALUES)
    with pytest.raises(BodyTooLarge):
        parse(raw)[0].with_stream_and_id("new", "1")
