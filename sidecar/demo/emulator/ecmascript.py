r"""ECMAScript regular expressions without flags, as Ajv 6 compiles a schema's `pattern`, translated for `re`.

Syntax that differs from Python's is rewritten. Back references, look-behind, named groups, empty classes, `\B` and all
escapes not listed below are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SPACE = r"\t\n\x0b\x0c\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_OF_CLASS = {"d": "0-9", "w": "0-9A-Za-z_", "s": _SPACE}
_END_OF_LINE = r"\n\r\u2028\u2029"
_TOKEN = re.compile(
    r"""
    (?P<escape> \\(?: [dDwWsSbnrtfv] | x[0-9A-Fa-f]{2} | u[0-9A-Fa-f]{4} | [\^$.*+?()\[\]{}|/\\-] ))
  | (?P<dot> \.)
  | (?P<end> \$)
  | (?P<group> \((?: \?[:=!] | (?!\?) ))
  | (?P<class> \[ \^? (?: [^\]\\] | \\. )+ \])
  | (?P<repeated> (?: [*+?] | \{\d+(?:,\d*)?\} ) \?? (?![*+?{]))
  | (?P<plain> [^\\.$(\[{*+?\]}])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_IN_CLASS = re.compile(r"\\(?: [dwsnrtfv] | x[0-9A-Fa-f]{2} | u[0-9A-Fa-f]{4} | [^0-9A-Za-z] ) | [^\\]", re.VERBOSE)


def searcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether `new RegExp(pattern)` matches anywhere in a text.

    Raises:
        ValueError: the pattern is invalid, or not supported here.

    """
    search = _compiled(_units(pattern)).search
    return lambda text: search(_units(text)) is not None


def full_matcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a whole text matches; see `searcher`."""
    match = _compiled(pattern).fullmatch
    return lambda text: match(_units(text)) is not None


def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    place = 0
    while place < len(pattern):
        token = _TOKEN.match(pattern, place)
        if token is None:
            raise ValueError(f"{pattern!r} has unsupported syntax at {place}")
        parts.append(_rewritten(token.lastgroup or "", token[0]))
        place = token.end()
    try:
        return re.compile("".join(parts), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None


def _rewritten(kind: str, token: str) -> str:
    match kind:
        case "dot":
            return f"[^{_END_OF_LINE}]"
        case "end":
            return r"\Z"
        case "class":
            return _class(token)
        case "escape" if token[1].lower() in _OF_CLASS:
            return f"[{'^' if token[1].isupper() else ''}{_OF_CLASS[token[1].lower()]}]"
    return token


def _class(token: str) -> str:
    negation = "^" if token.startswith("[^") else ""
    inner = token[1 + len(negation) : -1]
    parts: list[str] = []
    place = 0
    while place < len(inner):
        member = _IN_CLASS.match(inner, place)
        if member is None:
            raise ValueError(f"{token!r} has an unsupported escape")
        text = member[0]
        parts.append(_OF_CLASS.get(text[1:], text) if text.startswith("\\") else re.sub(r"[\[&|~]", r"\\\g<0>", text))
        place = member.end()
    if "--" in inner:
        raise ValueError(f"{token!r} has an unsupported range")
    return f"[{negation}{''.join(parts)}]"


def _units(text: str) -> str:
    """Replace characters above U+FFFF by two surrogates, as in JavaScript."""
    if text.isascii() or max(text) <= "\uffff":
        return text
    data = text.encode("utf-16-le", "surrogatepass")
    return "".join(map(chr, memoryview(data).cast("H")))
