"""Explains invalid YAML: where the mistake begins, its cause and the fix.

A parser reports a mistake where it cannot go on, often lines later, and the token it expects. Each function here
recognises one mistake by that, by the open brackets and by the lines.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import yaml

from sidecar.routes.language.section import shortened

Place = tuple[int, int]
"""Line and column, both from 0."""
Said = tuple[Place, str]

_KEY = re.compile(r"[ -]*[^\s:]+:(?: |$)")
_CLOSING = {"[": "]", "{": "}"}
_VALUE_AFTER = re.compile(r"([-?:] +|[\[{,] *)(?=\S)")


@dataclass(frozen=True)
class _Mistake:
    """The parser's error, and its context in the text."""

    lines: list[str]
    context: str
    problem: str
    at: Place
    """Where it cannot go on."""
    begun: Place
    """The start of what it was reading."""
    open: Place | None
    """The innermost open bracket."""
    quoted: tuple[Place, Place] | None
    """Start and end of the last quoted text with several lines."""

    def line(self, number: int) -> str:
        return self.lines[number] if number < len(self.lines) else ""

    def rest(self, place: Place) -> str:
        return self.line(place[0])[place[1] :]

    @property
    def value(self) -> Place:
        """The start of the value with the problem, as far as its line shows."""
        line, column = self.at
        found = [match.end() for match in _VALUE_AFTER.finditer(self.line(line)[:column])]
        return line, found[0] if found else column


def explain(text: str, error: yaml.MarkedYAMLError) -> Said:
    """Return the place of the mistake that caused `error`, and a message."""
    at = error.problem_mark or error.context_mark
    if at is None:
        return (0, 0), f"is not YAML: {error.problem}"
    begun = error.context_mark or at
    open_, quoted = _read_until(text, at.index)
    mistake = _Mistake(
        re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text),
        error.context or "",
        error.problem or "",
        (at.line, at.column),
        (begun.line, begun.column),
        open_,
        quoted,
    )
    for known in _MISTAKES:
        said = known(mistake)
        if said is not None:
            return said
    context = f"{mistake.context}, " if mistake.context else ""
    return mistake.at, f"is not YAML: {context}{mistake.problem}"


def _read_until(text: str, index: int) -> tuple[Place | None, tuple[Place, Place] | None]:
    """Return the innermost bracket open at `index`, and the last quoted text with several lines before it."""
    brackets: list[Place] = []
    quoted = None
    with contextlib.suppress(yaml.YAMLError, ValueError, OverflowError):
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            start, end = token.start_mark, token.end_mark
            if start.index >= index:
                break
            if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
                brackets.append((start.line, start.column))
            elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and brackets:
                brackets.pop()
            elif isinstance(token, yaml.ScalarToken) and token.style in ("'", '"') and start.line < end.line:
                quoted = (start.line, start.column), (end.line, end.column)
    return brackets[-1] if brackets else None, quoted


# --- one mistake each ---


def _sign(mistake: _Mistake) -> Said | None:
    """Find an unquoted value that begins with one of YAML's indicators."""
    if mistake.context in ("while scanning an alias", "while scanning an anchor"):
        place = mistake.begun
    elif mistake.problem.startswith(("found undefined alias", "could not determine a constructor for the tag")):
        place = mistake.at
    else:
        return None
    value = re.split(r"[\s,\]}]", mistake.rest(place), maxsplit=1)[0]
    if "<<" in mistake.line(place[0])[: place[1]]:
        return (place[0], mistake.line(place[0]).index("<<")), MERGES
    means = {"*": "an alias", "&": "an anchor", "!": "a type"}.get(value[:1], "something else")
    return place, f'a value that begins with {value[:1]} is {means} to YAML; put it in quotes: "{shortened(value)}"'


def _quote(mistake: _Mistake) -> Said | None:
    begun = mistake.begun
    escaped = mistake.context == "while scanning a double-quoted scalar"
    if mistake.quoted is not None and mistake.quoted[1][0] == mistake.at[0]:
        begun = mistake.quoted[0]
    elif escaped and begun[0] == mistake.at[0]:
        line, column = mistake.at
        at = line, mistake.line(line).rfind("\\", 0, column + 1)
        found = mistake.rest(at)[:2]
        return at, f"in double quotes {found} is an escape, and not one of YAML's; put the value in single quotes"
    elif mistake.context != "while scanning a quoted scalar" and not escaped:
        return None
    return begun, f"the quote that opens here is not closed; put {mistake.rest(begun)[:1]} after the value"


def _bracket(mistake: _Mistake) -> Said | None:
    place = mistake.open
    if place is None or "cannot start any token" in mistake.problem:
        return None
    opening = mistake.rest(place)[:1]
    closing, found = _CLOSING.get(opening, ""), mistake.rest(mistake.at)[:1]
    if place[0] == mistake.at[0] and found not in ("]", "}", ""):
        if found == ":":
            return (
                mistake.at,
                f"this colon is one too many; close the {opening} before it, or put the value in quotes",
            )
        return mistake.at, f"a value, a comma or {closing} is missing before this"
    return place, f"the {opening} that opens here is not closed; put {closing} after its last value"


def _character(mistake: _Mistake) -> Said | None:
    found = re.fullmatch(r"found character '(.+)' that cannot start any token", mistake.problem, re.DOTALL)
    if found is None:
        return None
    if mistake.rest(mistake.at)[:1] == "\t":
        return mistake.at, "a tab is not allowed here; YAML indents with spaces: replace it with spaces"
    return mistake.at, f"a value cannot begin with {mistake.rest(mistake.at)[:1]} in YAML; put it in quotes"


def _colon(mistake: _Mistake) -> Said | None:
    if mistake.problem != "mapping values are not allowed here":
        return None
    if ": " in mistake.line(mistake.at[0])[: mistake.at[1]]:
        return mistake.value, "has a colon and a space in it, so YAML reads a second key; put the value in quotes"
    above = next((each for each in _columns(mistake, mistake.at[0])), None)
    if above is not None and not _KEY.match(mistake.line(above[0])):
        return _no_value(mistake, (above[0], above[1]))
    return _indentation(mistake)


def _no_key(mistake: _Mistake) -> Said | None:
    """Find a line that is not a key with a value."""
    if mistake.problem == "could not find expected ':'":
        place = mistake.begun
    elif mistake.problem == "expected <block end>, but found '<scalar>'":
        place = mistake.at
        before = mistake.line(place[0])[: place[1]].rstrip()
        if before.endswith(('"', "'", "}", "]")):
            return mistake.value, f"has more text after {before[-1]}; put the whole value in quotes"
    else:
        return None
    return _no_value(mistake, place)


def _no_value(mistake: _Mistake, place: Place) -> Said:
    found = re.match(r"-?\s*([^\s:]+):(?=\S)", mistake.rest(place))
    if found:
        return place, f"has no space after the colon; write {found[1]}: and then the value"
    return place, "is not a key and its value; write KEY: VALUE, with a space after the colon"


def _dash(mistake: _Mistake) -> Said | None:
    if not mistake.problem.startswith("expected <block end>, but found"):
        return None
    line, found = mistake.line(mistake.at[0]), mistake.rest(mistake.at)[:1]
    if found in ("]", "}"):
        return mistake.at, f"this {found} closes nothing; remove it, or put the value in quotes"
    if found == ",":
        return mistake.value, "has a comma after a value in quotes; put a list in brackets: [a, b]"
    if re.match(r" *-[^\s-]", line):
        return (mistake.at[0], line.index("-")), "has no space after the dash; write - and a space before the value"
    return _indentation(mistake)


def _document(mistake: _Mistake) -> Said | None:
    if not mistake.context.startswith("expected a single document"):
        return None
    return mistake.at, "begins a second document, and a configuration is one; remove this line"


def _indentation(mistake: _Mistake) -> Said | None:
    number = mistake.at[0]
    line = mistake.line(number)
    indent = len(line) - len(line.lstrip(" "))
    is_entry = line.lstrip(" ").startswith("- ")
    columns = {column: above for above, column, entry in _columns(mistake, number) if entry is is_entry}
    dashes = {column: above for above, column, entry in _columns(mistake, number) if entry}
    if not is_entry and indent in dashes and indent not in columns:
        words = f"begins below the dash of line {dashes[indent] + 1}; write a dash and a space before it"
        return (number, indent), words
    near = [
        *sorted(column for column in columns if column > indent)[:1],
        *sorted((column for column in columns if column < indent), reverse=True)[:1],
    ]
    if is_entry and not near:
        return (number, indent), "begins a list entry among keys; write a dash before every entry, or before none"
    if not near:
        return None
    there = " and ".join(f"line {columns[column] + 1} has {column}" for column in near)
    what = "entries of one list" if is_entry else "keys that belong together"
    return (number, indent), f"is indented by {indent} spaces, but {there}; {what} start in the same column"


def _columns(mistake: _Mistake, number: int) -> Iterator[tuple[int, int, bool]]:
    """Yield each indentation open above a line: its line, its column, and whether it is an entry's dash."""
    limit = len(mistake.line(number)) + 1000
    for above in range(number - 1, -1, -1):
        line = mistake.line(above)
        stripped = line.lstrip(" ")
        if not stripped or stripped.startswith("#"):
            continue
        column = len(line) - len(stripped)
        after = column + len(stripped) - len(stripped[1:].lstrip(" ")) if stripped.startswith("- ") else column
        if after < limit:
            yield above, after, False
        if column < after and column < limit:
            yield above, column, True
        limit = min(limit, column)


MERGES = "the key << copies keys from elsewhere, which hides them here; write the keys out"
_MISTAKES: tuple[Callable[[_Mistake], Said | None], ...] = (
    _sign,
    _quote,
    _bracket,
    _character,
    _colon,
    _no_key,
    _dash,
    _document,
)
