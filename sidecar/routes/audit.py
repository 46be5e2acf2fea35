"""Finds parts of a valid file that have no effect.

A *mistake* is something nobody can intend: a route that no event reaches, or that its upstream never accepts. It is
refused like any other problem. A *warning* is only shown: an upstream that no route uses, a redundant entry of
`accepts`.

Patterns are compared by their source. If `covers` (every text of one is a text of the other) or `disjoint` (no text is
in both) returns True, it is certain; regular expressions are not analysed.
"""

from __future__ import annotations

import itertools
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from sidecar.routes.index import Index, numbers
from sidecar.routes.language.config import Config, Match, Route
from sidecar.routes.language.pattern import Glob, Literal, Matcher, Pattern, Regex, Template
from sidecar.routes.language.section import Complaint, Path

MAX_SPELT = 1000
"""Maximum values of a label, and maximum characters of a value, that are checked for typos."""
MAX_BOXES = 512
"""Combinations of alternatives of one `match` that are checked one by one; with more, it is checked as a whole."""

_LIKE_A_REGEX = re.compile(r"^\^|\$$|\\[.dsw]|\.\+|(?<![A-Za-z0-9])\.\*|\([^)]*\)|\w\|\w")

Box = Mapping[str, Pattern]
"""The keys of a `match` with their patterns; an event fits if all do."""


class _Boxes:
    """The matches of a list, and which of them cover another."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._index = Index(matches)
        self.boxes: list[Box] = [match.patterns for match in matches]

    def covering(self, box: Box) -> Iterator[int]:
        """Yield the numbers of the matches that cover `box`, in order."""
        return (each for each in numbers(self._index.covering(box)) if _box_covers(self.boxes[each], box))

    def takers(self, number: int) -> list[int]:
        """Return the earlier matches that together take everything that this one does; none if something is left."""
        box = self.boxes[number]
        first = next(self.covering(box))  # it covers itself
        if first < number:
            return [first]
        takers: set[int] = set()
        for part in _parts(box):
            taker = next(self.covering(part))
            if taker == number:
                return []
            takers.add(taker)
        return sorted(takers)

    def meets(self, box: Box) -> bool:
        """Whether an event may fit one of them and `box`."""
        return any(not _boxes_disjoint(box, self.boxes[each]) for each in numbers(self._index.meeting(box)))


def mistakes(config: Config) -> Iterator[Complaint]:
    """Yield each part that has no effect but must have been meant to."""
    routes = _Boxes([route.match for route in config.routes])
    accepts = {name: _Boxes(each.accepts) for name, each in config.upstreams.items() if each.accepts is not None}
    for index, route in enumerate(config.routes):
        takers = routes.takers(index)
        if takers:
            yield ("routes", index), _never_reached(config.routes, takers)
        elif route.to in accepts and not accepts[route.to].meets(_arriving(route.match, route.stream)):
            yield (
                ("routes", index, "to"),
                f"is {route.to!r}, which accepts nothing that this route takes; fix upstreams.{route.to}.accepts, "
                "or write reject with a reason",
            )
        mirror = route.mirror
        if mirror and mirror.to in accepts and not accepts[mirror.to].meets(_arriving(route.match, mirror.stream)):
            yield (
                ("routes", index, "mirror", "to"),
                f"is {mirror.to!r}, which accepts no copy of what this route takes; fix upstreams.{mirror.to}.accepts "
                "or mirror.stream, or remove mirror",
            )


def warnings(config: Config) -> Iterator[Complaint]:
    """Yield each part that is redundant or suspicious, but harmless."""
    used = {route.to for route in config.routes} | {route.mirror.to for route in config.routes if route.mirror}
    for name, upstream in config.upstreams.items():
        if name not in used:
            yield ("upstreams", name), "is not used by any route; remove it, or add a route to it"
        for index, other in _superfluous(_Boxes(upstream.accepts or ())):
            yield (
                ("upstreams", name, "accepts", index),
                f"is redundant: accepts[{other}] already accepts everything that it does; remove one of them",
            )
    for path, match in _matches(config):
        for key, pattern in match.patterns.items():
            if any(map(_is_like_a_regex, pattern.matchers)):
                words = "looks like a regular expression without slashes; write /…/ if it is one"
                yield (*path, *key.split(".", 1)), words
    yield from _misspelt(config)


def _matches(config: Config) -> Iterator[tuple[Path, Match]]:
    for name, upstream in config.upstreams.items():
        for index, entry in enumerate(upstream.accepts or ()):
            yield ("upstreams", name, "accepts", index), entry
    for index, route in enumerate(config.routes):
        yield ("routes", index, "match"), route.match


def _is_like_a_regex(matcher: Matcher) -> bool:
    return not isinstance(matcher, Regex) and _LIKE_A_REGEX.search(matcher.source) is not None


def _misspelt(config: Config) -> Iterator[Complaint]:
    """Yield each label or value that is one typo away from one in a test or in more rules."""
    used = [(path, name, pattern) for path, match in _matches(config) for name, pattern in match.labels.items()]
    values: dict[str, list[str]] = {}
    for _, name, pattern in used:
        values.setdefault(name, []).extend(pattern.literals)
    tested: dict[str, list[str]] = {}
    for name, value in (pair for test in config.tests for pair in test.labels.items()):
        tested.setdefault(name, []).append(value)
    places = [place for upstream in config.upstreams.values() for place in upstream.datacenters]
    names = _Words((name for _, name, _ in used), tested.keys() & values.keys())
    words = {name: _Words(found, [*tested.get(name, ()), *config.upstreams, *places]) for name, found in values.items()}
    for path, name, pattern in used:
        near = names.meant_by(name) or names.abbreviation(name)
        if near:
            yield (*path, "labels", name), f"may be misspelt; elsewhere the label is {near}"
        for value in pattern.literals:
            near = words[name].meant_by(value)
            if near:
                yield (*path, "labels", name), f"has {value}, which may be misspelt; elsewhere it is {near}"
    of_rules = _Words((), values)
    for index, test in enumerate(config.tests):
        for name in test.labels.keys() - values.keys():
            near = of_rules.meant_by(name) or of_rules.abbreviation(name)
            if near:
                yield ("tests", index, "labels", name), f"may be misspelt; the rules have {near}"


class _Words:
    """Labels, or values of one: how often each is used, and which are known to be right."""

    def __init__(self, used: Iterable[str], sure: Iterable[str]) -> None:
        self._times = Counter(used)
        self._sure = dict.fromkeys(sure)
        self._known = {word.lower(): word for word in (*self._times, *self._sure)}

    def meant_by(self, word: str) -> str | None:
        """Return a better known word with two letters swapped, one letter more or fewer, or in another case."""
        if word in self._sure or not 3 <= len(word) <= MAX_SPELT or len(self._times) > MAX_SPELT:
            return None
        near = (self._known.get(each, word) for each in _slips(word.lower()))
        return next((each for each in near if each in self._sure or self._times[each] > self._times[word]), None)

    def abbreviation(self, word: str) -> str | None:
        """Return a right word of which this one is an abbreviation, or that is an abbreviation of it."""
        for each in () if word in self._sure else self._sure:
            short, long = sorted((word, each))
            if len(short) >= 3 and long.isalpha() and long.startswith(short):
                return each
        return None


def _slips(word: str) -> Iterator[str]:
    """Yield the words one typo away from `word`; the first letter is always right."""
    yield word
    for at in range(1, len(word)):
        start, rest = word[:at], word[at:]
        yield start[:-1] + rest[0] + start[-1] + rest[1:]
        if rest[0].isalpha() and rest[1:]:
            yield start + rest[1:]
        yield from (start + letter + rest for letter in string.ascii_lowercase)


def _superfluous(entries: _Boxes) -> Iterator[tuple[int, int]]:
    """Yield each entry that another one covers, with the other; the later of two equal ones."""
    for index, entry in enumerate(entries.boxes):
        for at in entries.covering(entry):
            if at != index and (at < index or not _box_covers(entry, entries.boxes[at])):
                yield index, at
                break


def _never_reached(routes: Sequence[Route], takers: Sequence[int]) -> str:
    names = " and ".join(f"routes[{index}] ({routes[index].name})" for index in takers)
    takes, that = ("takes", "that one") if len(takers) == 1 else ("take", "those")
    return f"is never reached: {names} {takes} every event that it matches; move it above {that}, or remove it"


def _parts(box: Box) -> Iterator[Box]:
    """Yield a box for each combination of alternatives, or the whole box if there are too many."""
    combinations = 1
    for pattern in box.values():
        combinations *= len(pattern.matchers)
    if combinations > MAX_BOXES:
        yield box
        return
    for chosen in itertools.product(*(pattern.alternatives for pattern in box.values())):
        yield dict(zip(box, chosen, strict=True))


def _arriving(match: Match, stream: Template | None) -> Box:
    """Return the patterns of a route's events at the upstream, under their new name."""
    arriving = match.patterns
    if stream is not None:
        arriving.pop("stream", None)
        if not stream.placeholders:
            arriving["stream"] = Pattern.parse([stream.source])
    return arriving


def _box_covers(wide: Box, narrow: Box) -> bool:
    return all(key in narrow and covers(pattern, narrow[key]) for key, pattern in wide.items())


def _boxes_disjoint(one: Box, other: Box) -> bool:
    return any(disjoint(one[key], other[key]) for key in one.keys() & other.keys())


def covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether every text that matches `narrow` certainly matches `wide`."""
    return all(any(matcher_covers(w, n) for w in wide.matchers) for n in narrow.matchers)


def disjoint(one: Pattern, other: Pattern) -> bool:
    """Whether certainly no text matches both patterns."""
    return all(_matchers_disjoint(a, b) for a in one.matchers for b in other.matchers)


def matcher_covers(wide: Matcher, narrow: Matcher) -> bool:
    """Whether every text that matches the alternative `narrow` certainly matches `wide`."""
    if isinstance(narrow, Literal):
        return wide.groups_in(narrow.source) is not None
    if isinstance(narrow, Regex):
        return _is_everything(wide) or (isinstance(wide, Regex) and wide.source == narrow.source)
    return isinstance(wide, Glob) and _fits(wide.pieces, narrow.pieces)


def _matchers_disjoint(one: Matcher, other: Matcher) -> bool:
    if isinstance(one, Literal):
        return other.groups_in(one.source) is None
    if isinstance(other, Literal):
        return one.groups_in(other.source) is None
    return isinstance(one, Glob) and isinstance(other, Glob) and not _globs_meet(one, other)


def _globs_meet(one: Glob, other: Glob) -> bool:
    begins = one.beginning.startswith(other.beginning) or other.beginning.startswith(one.beginning)
    ends = one.ending.endswith(other.ending) or other.ending.endswith(one.ending)
    return begins and ends and _meet(one.pieces, other.pieces)


def _is_everything(matcher: Matcher) -> bool:
    return isinstance(matcher, Glob) and matcher.pieces == ("*",)


@lru_cache(maxsize=256)
def _single(piece: str) -> Glob:
    return Glob(piece)


def _fits(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    """Whether `wide`, read as a glob over the pieces of `narrow`, covers them: its `*` any of them, its `?` one."""
    reached = {0}
    for piece in wide:
        if piece == "*":
            reached = set(range(min(reached), len(narrow) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(narrow) and _piece_covers(piece, narrow[at])}
        if not reached:
            return False
    return len(narrow) in reached


def _piece_covers(wide: str, narrow: str) -> bool:
    if narrow == "*":
        return False
    if wide in ("?", narrow):
        return True
    members = _members(narrow)
    return members is not None and all(_single(wide).groups_in(each) is not None for each in members)


def _meet(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether some text may match both; two sets are assumed to share a character."""
    reached, seen = [(0, 0)], {(0, 0)}
    while reached:
        i, j = reached.pop()
        if (i, j) == (len(one), len(other)):
            return True
        for step in _steps(one, i, other, j):
            if step not in seen:
                seen.add(step)
                reached.append(step)
    return False


def _steps(one: Sequence[str], i: int, other: Sequence[str], j: int) -> list[tuple[int, int]]:
    """Return the positions that both can reach with one more character, or by ending a `*`."""
    a = one[i] if i < len(one) else None
    b = other[j] if j < len(other) else None
    steps = []
    if a == "*":
        steps += [(i + 1, j)] + ([(i, j + 1)] if b is not None else [])
    if b == "*":
        steps += [(i, j + 1)] + ([(i + 1, j)] if a is not None else [])
    if a is not None and b is not None and "*" not in (a, b) and _may_be_equal(a, b):
        steps.append((i + 1, j + 1))
    return steps


def _may_be_equal(a: str, b: str) -> bool:
    members, other = (_members(a), b) if _members(a) is not None else (_members(b), a)
    return members is None or any(_single(other).groups_in(each) is not None for each in members)


@lru_cache(maxsize=256)
def _members(piece: str) -> Sequence[str] | None:
    """Return the characters that a piece of a glob matches; None if they are too many."""
    if len(piece) == 1:
        return None if piece == "?" else [piece]
    if piece.startswith("[!") or not piece.isascii():
        return None
    return [each for each in map(chr, range(128)) if _single(piece).groups_in(each) is not None]
