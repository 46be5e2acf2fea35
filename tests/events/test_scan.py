"""Promises of `scan`: exact offsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import MalformedBody
from sidecar.events import scan
from tests.jsontext import array, as_read, events, space, text_of, unhurried, values


@unhurried
@given(events)
def test_each_key_has_its_value(raw: bytes) -> None:
    """The last of equal keys counts, however written."""
    text, value = raw.decode("latin-1"), as_read(raw)
    found = scan.places(text, 0, [text_of(key) or "" for key in value])
    assert {key: as_read(text[start:end].encode("latin-1")) for key, (start, end) in found.items()} == {
        text_of(key): each for key, each in value.items()
    }


@unhurried
@given(st.lists(st.tuples(space, st.one_of(events, values), space), max_size=5))
def test_each_member_of_an_array_is_found(elements: list[tuple[bytes, bytes, bytes]]) -> None:
    """From its first byte to its last, without white space around it."""
    text = array(elements).decode("latin-1")
    assert [text[start:end].encode("latin-1") for start, end in scan.items(text)] == [raw for _, raw, _ in elements]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        pytest.param('{"a":1,"b":2}', (5, 6), id="there"),
        pytest.param('{"a":1,"a": 2}', (12, 13), id="twice"),
        pytest.param('{"\\u0061": [1]}', (11, 14), id="with an escape"),
        pytest.param('{"b":{"a":1}}', None, id="deeper"),
        pytest.param('["a"]', None, id="no object"),
    ],
)
def test_the_last_member_of_a_name_is_found(text: str, span: tuple[int, int] | None) -> None:
    """With start and end of its value."""
    assert scan.last_member(text, 0, "a") == span


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a":', "Unexpected end of JSON input"),
        ('{"a":NaN}', "NaN is not valid JSON"),
        ("{} x", "Unexpected non-whitespace character after JSON at byte 2"),
        ("[" * 100_000, "nested too deeply: an event may have a few hundred levels"),
        ('{"a" 1}', "Expecting ':' delimiter at byte 5 of the JSON"),
    ],
    ids=["cut off", "no JSON", "more behind it", "deep", "a colon is missing"],
)
def test_malformed_json_is_refused_with_its_offset(text: str, words: str) -> None:
    """The message helps the producer."""
    with pytest.raises(MalformedBody) as refused:
        scan.end_of_value(text, 0, whole=True)
    assert refused.value.detail == words


@pytest.mark.parametrize(
    ("raw", "text"),
    [(rb'"Zo\u00eb"', "Zoë"), ('"Zoë"'.encode(), "Zoë"), (b'"Zo\xeb"', "Zo\N{REPLACEMENT CHARACTER}")],
    ids=["escaped", "UTF-8", "not UTF-8"],
)
def test_a_string_is_decoded_from_its_bytes(raw: bytes, text: str) -> None:
    """With escapes and with UTF-8; what is not UTF-8 is replaced, as in Node."""
    assert scan.string_at(raw.decode("latin-1"), 0) == text


def test_a_number_may_have_thousands_of_digits() -> None:
    """It is skipped, although Python would not convert it."""
    assert scan.end_of_value("9" * 5000, 0, whole=True) == 5000


@pytest.mark.parametrize(("raw", "found"), [('{"a": "x\\n"}', "x\n"), ('{"a": 1}', None), ('{"b": "x"}', None)])
def test_only_a_string_is_read_as_text(raw: str, found: str | None) -> None:
    """Another value is none, nor is a key that is missing."""
    assert scan.text_at(raw, scan.places(raw, 0, ["a"]).get("a")) == found
