"""Exact places in JSON: where a key's value begins and ends in the bytes of an event.

The bytes are read as Latin-1, so that a place in the text is a place in the bytes. All that JSON gives a meaning is
ASCII, and the bytes of other characters never look like it. Where a key stands twice in an object the last one counts,
as in JSON.parse.
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
"""A key and its value; of an object, an array or a string with escapes only where it begins."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


def _nothing(_: str) -> None:
    return None


_scan = json.JSONDecoder(parse_int=_nothing, parse_float=_nothing, parse_constant=_refuse_constant).raw_decode


def end_of_value(text: str, start: int, *, whole: bool = False) -> int:
    """Return the place behind the value at `start`; with `whole`, nothing but that value may follow.

    Raises:
        MalformedBody: it is not JSON, or nested too deeply.

    """
    try:
        _, end = _scan(text, start)
    except json.JSONDecodeError as error:
        if error.pos >= len(text):
            raise MalformedBody("Unexpected end of JSON input") from None
        words = error.msg.removesuffix(" at")
        raise MalformedBody(f"{words} at byte {error.pos} is not valid JSON") from None
    except RecursionError:
        raise MalformedBody(TOO_DEEP) from None
    except ValueError as error:
        raise MalformedBody(str(error)) from None
    if whole and end != len(text):
        raise MalformedBody(f"Unexpected non-whitespace character after JSON at byte {end}")
    return int(end)


def skip_space(text: str, start: int) -> int:
    """Return the place of the first character from `start` on that is no white space."""
    found = _SPACE_RE.match(text, start)
    return found.end() if found else start


def string_at(text: str, start: int) -> str:
    """Return the string at `start`, its UTF-8 put right; what is not UTF-8 becomes U+FFFD, as in Node.

    So does a lone surrogate, which cannot be written as UTF-8: not to a log, not to RE2, not in an answer.
    """
    end = end_of_value(text, start)
    value: Any = json.loads(text[start:end].encode("latin-1").decode("utf-8", errors="replace"))
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)


def members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield key, start and end of the value for each member of the object at `start`, in order.

    The text is JSON, which has been seen before; so each member takes one search, unless its value has parts.
    """
    place = start + 1
    while member := _MEMBER.match(text, place):
        key = member[1]
        if "\\" in key or not key.isascii():
            key = string_at(text, member.start(1) - 1)
        value, end = member.span(2)
        if value == end:  # more than the search takes
            end = end_of_value(text, value)
        yield key, value, end
        place = end


def items(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each member of the array that `text` is."""
    place = skip_space(text, 1)
    while text[place] != "]":
        end = end_of_value(text, place)
        yield place, end
        place = skip_space(text, end)
        if text[place] == ",":
            place = skip_space(text, place + 1)


def last_member(text: str, start: int, key: str) -> tuple[int, int] | None:
    """Return start and end of the value of `key` in the object at `start`; None where there is none."""
    return places(text, start, (key,)).get(key) if text[start] == "{" else None


def places(text: str, start: int, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return start and end of the value of each of `keys` that the object at `start` has; the last of a name counts."""
    return {name: (value, end) for name, value, end in members(text, start) if name in keys}


def every(text: str, start: int, keys: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the members of the object at `start` that have one of `keys`, in order; one that stands twice, twice."""
    return [member for member in members(text, start) if member[0] in keys]


def text_at(text: str, span: tuple[int, int] | None) -> str | None:
    """Return the string that the value at `span` is; None where it is none."""
    return string_at(text, span[0]) if span is not None and text[span[0]] == '"' else None
