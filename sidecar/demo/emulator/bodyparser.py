"""Parses a request body as EventGate does: Express's body-parser 1.19, then V8's JSON.parse.

EventGate passes on the error messages of both, so the emulator reproduces them.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple, NoReturn

import msgspec

from sidecar.demo.emulator import ajv

# app.js: the types that are parsed; a body of any other counts as empty.
_CONTENT_TYPES = {b"application/json", b"text/plain", b"application/reports+json"}

_CHARSETS = {"utf-8", "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be", "utf-7"}
_CHARSET = re.compile(rb";\s*charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)

# The first character that JavaScript's `.` matches after JSON's white space.
_FIRST = re.compile("[ \t\n\r]*([^\n\r\u2028\u2029])")
_WHITE = re.compile(r"[ \t\n\r]*")
_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)', re.DOTALL)
_HEX = re.compile("[0-9a-fA-F]{0,4}")
_BROKEN_NUMBER = re.compile(r"(?<=[0-9])(?:\.|([eE][+-]?))")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_FIRST_NAME = re.compile(r'\{[ \t\n\r]*""[ \t\n\r]*$')
_OPEN_OR_CLOSE = "property name or '}'"
_AFTER_VALUE = "'}' after property value"
_AFTER_ELEMENT = "']' after array element"
_SURROGATE = re.compile("[\ud800-\udfff]")


class BodyError(Exception):
    """The body cannot be read; `title` and `detail` are as in EventGate's answer."""

    def __init__(self, title: str, detail: str) -> None:
        """`title` is the error's name, `detail` its message."""
        super().__init__(f"{title}: {detail}")
        self.title = title
        self.detail = detail


class Element(NamedTuple):
    """One event of the body: its parsed value, and its bytes as received (in UTF-8)."""

    value: Any
    raw: bytes


def read(headers: Mapping[bytes, bytes], body: bytes, limit: int) -> list[Element]:
    """The events in a body: an array's members, or the lone object; none if it counts as empty.

    `headers` are lower-case; `limit` is in bytes after decompression. Raises BodyError, and RecursionError for a value
    nested too deeply.
    """
    content_type = headers.get(b"content-type", b"")
    has_body = b"content-length" in headers or b"transfer-encoding" in headers
    if not has_body or content_type.partition(b";")[0].strip().lower() not in _CONTENT_TYPES:
        return []
    charset = _charset(content_type)
    data = _inflate(headers.get(b"content-encoding", b"identity").lower(), body, limit)
    if len(data) > limit:
        raise BodyError("PayloadTooLargeError", "request entity too large")
    if not data:
        return []
    if charset == "utf-8":
        try:
            return _parse_bytes(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # The slow way reads what msgspec does not, or finds the error message.
    text = data.decode(charset, errors="replace").removeprefix("\ufeff")
    return _parse_text(text) if text else []


def stringify(value: ajv.Json) -> bytes:
    """Serialise as JavaScript does after JSON.parse: 1.0 becomes 1, and numbers are rounded to doubles."""
    text = json.dumps(_as_javascript(value), ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _charset(content_type: bytes) -> str:
    found = _CHARSET.search(content_type)
    charset = found[1].decode("latin-1").lower() if found else "utf-8"
    if charset not in _CHARSETS:
        raise BodyError("UnsupportedMediaTypeError", f'unsupported charset "{charset.upper()}"')
    return charset


def _inflate(encoding: bytes, body: bytes, limit: int) -> bytes:
    """Decompress up to one byte over the limit: a small body may inflate to gigabytes."""
    if encoding == b"identity" or not body:
        return body
    if encoding not in (b"gzip", b"deflate"):
        detail = f'unsupported content encoding "{encoding.decode("latin-1")}"'
        raise BodyError("UnsupportedMediaTypeError", detail)
    inflater = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == b"gzip" else 0))
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise BodyError("Error", str(error).rpartition(": ")[2]) from None
    if not inflater.eof and len(data) <= limit:
        raise BodyError("Error", "unexpected end of file")
    return data


def _parse_bytes(data: bytes) -> list[Element]:
    stripped = data.strip(b" \t\n\r")
    if stripped.startswith(b"["):
        members = msgspec.json.decode(stripped, type=list[msgspec.Raw])
        return [Element(msgspec.json.decode(member), bytes(member)) for member in members]
    if stripped.startswith(b"{"):
        value = msgspec.json.decode(stripped)
        return [Element(value, stripped)] if value else []
    raise msgspec.DecodeError("neither an object nor an array")


def _parse_text(text: str) -> list[Element]:
    first = _FIRST.match(text)
    if first is None:
        raise BodyError("TypeError", "Cannot read properties of null (reading '1')")
    if first[1] not in "{[":
        before = text[: text.index(first[1])]
        raise BodyError("SyntaxError", f"Unexpected token '{first[1]}', \"{before}#\" is not valid JSON")
    decoder = json.JSONDecoder(parse_constant=lambda _: _refuse_constant(text))
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise BodyError("SyntaxError", _v8_words(text, error.msg, error.pos)) from None
    if isinstance(value, dict):
        return [Element(value, _utf8(text.strip(" \t\n\r")))] if value else []
    return _split_array(text, decoder, len(value))


def _split_array(text: str, decoder: json.JSONDecoder, count: int) -> list[Element]:
    """Split a well-formed array into its members, each with its own text."""
    elements = []
    position = text.index("[") + 1
    for _ in range(count):
        start = _skip_white(text, position)
        value, end = decoder.raw_decode(text, start)
        elements.append(Element(value, _utf8(text[start:end])))
        position = _skip_white(text, end) + 1
    return elements


def _skip_white(text: str, position: int) -> int:
    found = _WHITE.match(text, position)
    return found.end() if found else position


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")


def _refuse_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python accepts and JSON does not."""
    position = next((found.start(1) for found in _STRING_OR_CONSTANT.finditer(text) if found[1]), 0)
    raise json.JSONDecodeError("Expecting value", text, position)


def _v8_words(text: str, message: str, position: int) -> str:
    """Translate an error of Python's json module to that of V8 11 (Node 20), which EventGate passes on."""
    if message.startswith("Illegal trailing comma"):  # Python 3.13 and later point at the comma
        position = _skip_white(text, position + 1)
        message = "Expecting value" if text[position] == "]" else "Expecting property name"
    if message.startswith("Expecting value"):
        return _no_value(text, position)
    if message.startswith("Expecting ':'") and not _FIRST_NAME.search(_STRING.sub('""', text[:position])):
        return _unexpected(text, position)
    if message.startswith("Expecting ','") and (broken := _BROKEN_NUMBER.match(text, position)):
        what = "Exponent part is missing a number" if broken[1] else "Unterminated fractional number"
        return f"{what} in JSON at position {_units(text, broken.end())}"
    what, position = _misspelt(text, message, position)
    in_json = "JSON" if what.endswith("after") else "in JSON"
    return f"{what} {in_json} at position {_units(text, position)}"


def _misspelt(text: str, message: str, position: int) -> tuple[str, int]:
    if message.startswith("Invalid \\uXXXX"):
        digits = _HEX.match(text, text.index("u", position - 1) + 1)
        return "Bad Unicode escape", digits.end() if digits else position
    if message.startswith("Invalid \\escape"):
        return "Bad escaped character", position + (text[position] == "\\")
    if message.startswith("Unterminated string"):
        return "Unterminated string", len(text)
    return _expectation(text, message, position), position


def _no_value(text: str, position: int) -> str:
    """V8 reports the first character that does not fit true, false or null, not the start of the word."""
    if text[position : position + 1] == "-":
        return f"No number after minus sign in JSON at position {_units(text, position + 1)}"
    word = next((word for word in ("true", "false", "null") if text[position : position + 1] == word[0]), "")
    right = sum(text.startswith(word[: length + 1], position) for length in range(len(word)))
    return _unexpected(text, position + right)


def _unexpected(text: str, position: int) -> str:
    mark = text[position : position + 1]
    if mark == '"':
        return f"Unexpected string in JSON at position {_units(text, position)}"
    if mark in "-0123456789" and mark:
        return f"Unexpected number in JSON at position {_units(text, position)}"
    return _unexpected_token(text, position)


def _expectation(text: str, message: str, position: int) -> str:
    if message.startswith("Expecting property name"):
        after_brace = text[:position].rstrip(" \t\n\r").endswith("{")
        return f"Expected {_OPEN_OR_CLOSE if after_brace else 'double-quoted property name'}"
    if message.startswith("Expecting ','"):
        if text[position - 1] == "0" and text[position : position + 1].isdigit():
            return "Unexpected number"
        in_object = _innermost(text[:position]) == "{"
        return f"Expected ',' or {_AFTER_VALUE if in_object else _AFTER_ELEMENT}"
    return {
        "Expecting ':' delimiter": "Expected ':' after property name",
        "Extra data": "Unexpected non-whitespace character after",
    }.get(message, "Bad control character in string literal")


def _innermost(text: str) -> str:
    """The innermost bracket that is open at the end of this text."""
    opened: list[str] = []
    for mark in _STRING.sub("", text):
        if mark in "[{":
            opened.append(mark)
        elif mark in "]}" and opened:
            opened.pop()
    return opened[-1] if opened else ""


def _unexpected_token(text: str, position: int) -> str:
    """V8 quotes ten characters on either side, with dots where it cuts, and texts of up to twenty in full."""
    if position >= len(text):
        return "Unexpected end of JSON input"
    around, before, after = 10, "", ""
    start, end = 0, len(text)
    if len(text) > 2 * around:
        if position >= around:
            start, before = position - around, "..."
        if position < len(text) - around:
            end, after = position + around, "..."
    return f"Unexpected token '{text[position]}', {before}\"{text[start:end]}\"{after} is not valid JSON"


def _units(text: str, position: int) -> int:
    """JavaScript counts UTF-16 units, Python characters."""
    return position + sum(character > "\uffff" for character in text[:position])


def _as_javascript(value: ajv.Json) -> ajv.Json:
    """Replace the numbers in a value, in place; without recursion, since bodies can nest deeply."""
    whole = [value]
    waiting: list[Any] = [whole]
    while waiting:
        container = waiting.pop()
        for key, member in list(container.items() if type(container) is dict else enumerate(container)):
            if type(member) in (dict, list):
                waiting.append(member)
            elif type(member) in (int, float):
                container[key] = _as_double(member)
    return whole[0]


def _as_double(number: float) -> float | None:
    """The number as JavaScript has it; an int if JavaScript writes neither point nor exponent."""
    try:
        double = float(number)
    except OverflowError:
        return None
    if not isfinite(double):
        return None
    if not double.is_integer() or abs(double) >= 1e21:
        return double
    # The shortest digits of this double, padded with zeros: 12345678901234567000 rather than ...168.
    mantissa, _, exponent = repr(abs(double)).partition("e")
    digits = mantissa.removesuffix(".0").replace(".", "")
    absolute = int(digits.ljust(int(exponent or 0) + 1, "0"))
    return absolute if double >= 0 else -absolute
