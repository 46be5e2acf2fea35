"""A body is read as EventGate reads it. What the recorded exchanges show already is not repeated here."""

from __future__ import annotations

import gzip
import json

import pytest

from sidecar.demo.emulator import bodyparser
from sidecar.demo.emulator.bodyparser import BodyError, Element

LIMIT = 1000


def read(body: bytes, **headers: str) -> list[Element]:
    """Read a body that comes as JSON; `content_encoding="gzip"` becomes that header."""
    given = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    named = {name.replace("_", "-").encode(): value.encode() for name, value in given.items()}
    return bodyparser.read(named, body, LIMIT)


def test_elements_keep_their_bytes() -> None:
    """Each member of an array is given with its own bytes, whatever stands between them."""
    body = b'\n[ {"a": 1.50} ,\t{"b":"\\u00e9"}\r\n]'
    assert [element.raw for element in read(body)] == [b'{"a": 1.50}', b'{"b":"\\u00e9"}']


def test_elements_keep_their_bytes_the_slow_way() -> None:
    """What the fast parser does not take is cut into the same pieces."""
    body = b'[ {"a":"\\ud800"} , {"b": 1e999} ]'
    assert [element.raw for element in read(body)] == [b'{"a":"\\ud800"}', b'{"b": 1e999}']


@pytest.mark.parametrize("value", ["1", "1.5", "0.1", "-1", "9007199254740991", "1e-7"])
def test_numbers_that_both_write_alike_stay(value: str) -> None:
    """A number that JavaScript and Python write alike comes back as it went in."""
    assert json.loads(bodyparser.stringify(json.loads(value))) == json.loads(value)


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("1.0", b"1"),
        ("-0.0", b"0"),
        ("1e3", b"1000"),
        ("12345678901234567890", b"12345678901234567000"),
        ("-12345678901234567890", b"-12345678901234567000"),
        ("1e400", b"null"),
        ("9" * 400, b"null"),
        ('"\\ud800"', b'"\\ud800"'),
        ('"\\u00e9"', b'"\xc3\xa9"'),
    ],
)
def test_stringify_writes_as_javascript(sent: str, written: bytes) -> None:
    """Echoed values look as JavaScript writes them after having read them."""
    assert bodyparser.stringify(json.loads(sent)) == written


def test_a_small_body_cannot_become_a_large_one() -> None:
    """Decompression stops at the limit."""
    with pytest.raises(BodyError, match="request entity too large"):
        read(gzip.compress(b"[" + b" " * 10_000_000 + b"]"), content_encoding="gzip")


def test_half_a_gzip_body_is_refused() -> None:
    """A compressed body that ends too soon is not taken for what came of it."""
    with pytest.raises(BodyError, match="unexpected end of file"):
        read(gzip.compress(b'{"a": 1}')[:-4], content_encoding="gzip")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ('{"a":tru}', 'Unexpected token \'}\', "{"a":tru}" is not valid JSON'),
        ('{"a":nu"ll"}', "Unexpected string in JSON at position 7"),
        ('{"a":t1}', "Unexpected number in JSON at position 6"),
        ('{"a":1.}', "Unterminated fractional number in JSON at position 7"),
        ('{"a":1e}', "Exponent part is missing a number in JSON at position 7"),
        ('{"a":1,"b"}', 'Unexpected token \'}\', "{"a":1,"b"}" is not valid JSON'),
        ('{"a":1', "Expected ',' or '}' after property value in JSON at position 6"),
        (
            '[{"a":"long enough to cut"},x,{"b":"and this also"}]',
            'Unexpected token \'x\', ..." to cut"},x,{"b":"an"... is not valid JSON',
        ),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_v8(text: str, detail: str) -> None:
    """EventGate passes V8's message on, so the emulator says the same; these were read off Node 20."""
    with pytest.raises(BodyError) as caught:
        read(text.encode())
    assert (caught.value.title, caught.value.detail) == ("SyntaxError", detail)
