"""Finds the exact place of each key's value in an event's JSON.

The bytes are read as Latin-1, so that offsets in the text are offsets in the bytes. JSON's syntax is ASCII, and no byte
of another UTF-8 character looks like it. The last of duplicate keys counts, as in JSON.parse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from sidecar.errors import MalformedBody

TOO_DEEP = "nested too deeply: an event may have a few hundred levels"
_SPACE_RE = re.compile(r"[ \t\r\n]*")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MEMBER = re.compile(
    r"""[ \t\r\n,]*+ "([^"\\]*+(?:\\.[^"\\]*+)*+)" [ \t\r\n]*+ : [ \t\r\n]*+ ("[^"\\]*+" | [^\[{",}\s]*+)""",
    re.VERBOSE,
)
"""A key and its value; of an object, an array or a string with escapes, only the start."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


def _nothing(_: str) -> None:
    return None


_scan = json.JSONDecoder(parse_int=_nothing, parse_float=_nothing, parse_constant=_refuse_constant).raw_decode


def end_of_value(text: str, start: int, *, whole: bool = False) -> int:
    """Return the end of the value at `start`; with `whole`, nothing may follow it.

    Raises:
        MalformedBody: it is not JSON, or nested too deeply.

    """
    try:
        _, end = _scan(text, start)
    except json.JSONDecodeError as error:
        if error.pos >= len(text):
            raise MalformedBody("Unexpected end of JSON input") from None
        raise MalformedBody(f"{error.msg.removesuffix(' at')} at byte {error.pos} of the JSON") from None
    except RecursionError:
        raise MalformedBody(TOO_DEEP) from None
    except ValueError as error:
        raise MalformedBody(str(error)) from None
    if whole and end != len(text):
        raise MalformedBody(f"Unexpected non-whitespace character after JSON at byte {end}")
    return int(end)


def skip_space(text: str, start: int) -> int:
    """Return the offset of the first character at or after `start` that is not white space."""
    found = _SPACE_RE.match(text, start)
    return found.end() if found else start


def string_at(text: str, start: int) -> str:
    """Return the string at `start`, decoded; bad UTF-8 becomes U+FFFD, as in Node.

    So does a lone surrogate, which has no UTF-8 form for logs, RE2 or answers.
    """
    end = end_of_value(text, start)
    value: Any = json.loads(text[start:end].encode("latin-1").decode("utf-8", errors="replace"))
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)


def members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield key, and start and end of the value, for each member of the object at `start`, in order.

    The text is known to be JSON, so one match finds a member, unless its value is an object or an array.
    """
    place = start + 1
    while member := _MEMBER.match(text, place):
        key = member[1]
        if "\\" in key or not key.isascii():
            key = string_at(text, member.start(1) - 1)
        value, end = member.span(2)
        if value == end:  # not a value that the pattern covers
            end = end_of_value(text, value)
        yield key, value, end
        place = end


def items(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each member of the array `text`."""
    place = skip_space(text, 1)
    while text[place] != "]":
        end = end_of_value(text, place)
        yield place, end
        place = skip_space(text, end)
        if text[place] == ",":
            place = skip_space(text, place + 1)


def last_member(text: str, start: int, key: str) -> tuple[int, int] | None:
    """Return start and end of the value of `key` in the object at `start`; None if there is none."""
    return places(text, start, (key,)).get(key) if text[start] == "{" else None


def places(text: str, start: int, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return start and end of the value of each of `keys` found in the object at `start`; the last of a name counts."""
    return {name: (value, end) for name, value, end in members(text, start) if name in keys}


def every(text: str, start: int, keys: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the members of the object at `start` named in `keys`, in order, with duplicates."""
    return [member for member in members(text, start) if member[0] in keys]


def text_at(text: str, span: tuple[int, int] | None) -> str | None:
    """Return the string at `span`; None if the value there is not a string."""
    return string_at(text, span[0]) if span is not None and text[span[0]] == '"' else None
