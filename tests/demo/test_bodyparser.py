"""A body is parsed as by EventGate, beyond the recorded exchanges."""

from __future__ import annotations

import gzip
import json

import pytest

from sidecar.demo.emulator import bodyparser
from sidecar.demo.emulator.bodyparser import BodyError, Element

LIMIT = 1000


def read(body: bytes, **headers: str) -> list[Element]:
    """Read a JSON body; `content_encoding="gzip"` becomes that header."""
    given = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    named = {name.replace("_", "-").encode(): value.encode() for name, value in given.items()}
    return bodyparser.read(named, body, LIMIT)


def test_elements_keep_their_bytes() -> None:
    """Each member of an array, whatever is between them."""
    body = b'\n[ {"a": 1.50} ,\t{"b":"\\u00e9"}\r\n]'
    assert [element.raw for element in read(body)] == [b'{"a": 1.50}', b'{"b":"\\u00e9"}']


def test_elements_keep_their_bytes_in_the_slow_parser() -> None:
    """For bodies that the fast parser does not read."""
    body = b'[ {"a":"\\ud800"} , {"b": 1e999} ]'
    assert [element.raw for element in read(body)] == [b'{"a":"\\ud800"}', b'{"b": 1e999}']


@pytest.mark.parametrize("value", ["1", "1.5", "0.1", "-1", "9007199254740991", "1e-7"])
def test_common_numbers_are_unchanged(value: str) -> None:
    """Those that JavaScript and Python format alike."""
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
    """Echoed values look as after JSON.parse and JSON.stringify."""
    assert bodyparser.stringify(json.loads(sent)) == written


def test_decompression_is_limited() -> None:
    """It stops at the limit."""
    with pytest.raises(BodyError, match="request entity too large"):
        read(gzip.compress(b"[" + b" " * 10_000_000 + b"]"), content_encoding="gzip")


def test_half_a_gzip_body_is_refused() -> None:
    """An incomplete body is never accepted."""
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
def test_errors_have_v8s_message(text: str, detail: str) -> None:
    """As in Node 20; EventGate passes it on."""
    with pytest.raises(BodyError) as caught:
        read(text.encode())
    assert (caught.value.title, caught.value.detail) == ("SyntaxError", detail)
