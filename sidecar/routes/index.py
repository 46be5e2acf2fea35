"""An index of many matches, whose cost hardly grows with their number.

A set of matches is an integer with a bit for each, the first one's lowest. Each key of a `match` (`labels.env`,
`stream`, `event.database`) has a table from a text to the set of those whose pattern may match it: literals by the
whole text, globs by how they begin and end, regular expressions by RE2, which searches for many at once. `&` combines
the keys, and the lowest bit that is left is the first match that may fit.

A set found here contains all matches that fit, and maybe more: the caller compares each match itself.
"""

from __future__ import annotations

import functools
import operator
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import re2

from sidecar.routes.language.config import Config, Match, Route
from sidecar.routes.language.pattern import Glob, Literal, Matcher, Pattern, Regex, Template, quiet

MAX_SEARCHED = 256
"""Regular expressions that are searched at once: for more, RE2 has too little memory for its states."""
MAX_SEARCH_BYTES = 512 * 1024
"""For the expressions of a search and its states; without enough room for the expressions each is compared."""
_START = re.compile(r"\^?(?:\.\*)+(?![*+?{])")
"""A start that is dropped from expressions, since it makes searching for many of them at once slow."""


class Index:
    """The matches of a list, indexed by their keys.

    It takes a few hundred bytes for each alternative of a pattern; a file has at most 20,000.
    """

    def __init__(self, matches: Sequence[Match]) -> None:
        """The order of `matches` is that of the bits."""
        self._everything = (1 << len(matches)) - 1
        patterns: dict[str, list[tuple[int, Pattern]]] = {}
        for number, match in enumerate(matches):
            for key, pattern in match.patterns.items():
                patterns.setdefault(key, []).append((1 << number, pattern))
        self._tables = {key: _Table(found, self._everything) for key, found in patterns.items()}
        self._events = {key: table for key, table in self._tables.items() if key.startswith("event.")}
        self.all_paths = tuple(key.removeprefix("event.") for key in self._events)
        """The dotted paths in an event that its matches read."""

    def fitting(self, key: str, value: str | None) -> int:
        """Return the matches that may fit if `key` has this value; None: it has none."""
        table = self._tables.get(key)
        return self._everything if table is None else table.fitting(value)

    def of_pod(self, labels: Mapping[str, str]) -> int:
        """Return the matches that may fit in a pod with these labels."""
        keys = [key for key in self._tables if key.startswith("labels.")]
        found = (self.fitting(key, labels.get(key.removeprefix("labels."))) for key in keys)
        return functools.reduce(operator.and_, found, self._everything)

    def paths(self, among: int) -> Iterator[str]:
        """Yield the dotted paths in an event that some of these matches read."""
        return (key.removeprefix("event.") for key, table in self._events.items() if among & ~table.without)

    def covering(self, box: Mapping[str, Pattern]) -> int:
        """Return the matches that may fit everything that fits `box`."""
        found = self._everything
        for key, table in self._tables.items():
            found &= table.covering(box[key].matchers[0]) if key in box else table.without
        return found

    def meeting(self, box: Mapping[str, Pattern]) -> int:
        """Return the matches that may fit something that fits `box`."""
        found = self._everything
        for key in self._tables.keys() & box.keys():
            pattern = box[key]
            if len(pattern.literals) == len(pattern.matchers):
                found &= functools.reduce(operator.or_, (self.fitting(key, text) for text in pattern.literals))
        return found


class Indexes:
    """The indexes of a configuration, which routers of all pods share."""

    def __init__(self, config: Config) -> None:
        """Read every pattern once."""
        self.routes = Index([route.match for route in config.routes])
        self.accepts = {name: Index(each.accepts or ()) for name, each in config.upstreams.items()}
        self.paths = tuple({path: None for each in (*self.accepts.values(), self.routes) for path in each.all_paths})
        """The dotted paths in an event that any of them reads."""
        self.with_labels = [route for route in config.routes if any(each.labels for each in templates_of(route))]
        """Routes whose templates use a label."""


def matches_of(config: Config) -> Iterator[Match]:
    """Yield every `match`: those of `accepts`, then those of the routes."""
    for upstream in config.upstreams.values():
        yield from upstream.accepts or ()
    for route in config.routes:
        yield route.match


def templates_of(route: Route) -> Iterator[Template]:
    """Yield the templates of a route: for its stream, and for that of copies."""
    yield from (each for each in (route.stream, route.mirror and route.mirror.stream) if each)


def numbers(found: int) -> Iterator[int]:
    """Yield the positions of a set's matches in their list, in order."""
    while found:
        lowest = found & -found
        yield lowest.bit_length() - 1
        found ^= lowest


class _Table:
    """The patterns for one key."""

    def __init__(self, patterns: Iterable[tuple[int, Pattern]], everything: int) -> None:
        self.without = everything
        """The matches without the key."""
        self._literals: defaultdict[str, int] = defaultdict(int)
        self._beginnings, self._endings = _Edges(), _Edges()
        self._always = 0
        """The matches with a glob of wildcards only."""
        self._searched: defaultdict[str, int] = defaultdict(int)
        for bit, pattern in patterns:
            self.without &= ~bit
            for matcher in pattern.matchers:
                self._add(bit, matcher)
        found = [*self._searched.items()]
        self._searches = [_Search(found[at : at + MAX_SEARCHED]) for at in range(0, len(found), MAX_SEARCHED)]

    def _add(self, bit: int, matcher: Matcher) -> None:
        if isinstance(matcher, Literal):
            self._literals[matcher.source] |= bit
        elif isinstance(matcher, Regex):
            self._searched[_without_start(matcher)] |= bit
        elif matcher.beginning or matcher.ending:
            self._beginnings.add(matcher.beginning, bit)
            self._endings.add(matcher.ending[::-1], bit)
        elif matcher.longest:
            self._searched[re2.escape(matcher.longest)] |= bit
        else:
            self._always |= bit

    def fitting(self, text: str | None) -> int:
        """Return the matches that may fit a value at the key."""
        if text is None:
            return self.without
        return self.without | self._always | self._literals.get(text, 0) | self._within(text, text) | self._search(text)

    def covering(self, narrow: Matcher) -> int:
        """Return the matches that may fit everything that fits `narrow`; `audit.matcher_covers` decides."""
        if isinstance(narrow, Literal):
            return self.fitting(narrow.source)
        found = self.without | self._always
        if isinstance(narrow, Glob):
            return found | self._within(narrow.beginning, narrow.ending) | self._search(narrow.source)
        return found | self._searched.get(_without_start(narrow), 0)

    def _search(self, text: str) -> int:
        found = 0
        for search in self._searches:
            found |= search.found_in(text)
        return found

    def _within(self, beginning: str, ending: str) -> int:
        found = self._beginnings.of(beginning)
        return found and found & self._endings.of(ending[::-1])


def _without_start(expression: Regex) -> str:
    """Return an expression that matches in every text that this one does."""
    start = _START.match(expression.source)
    return expression.source[start.end() :] if start else expression.source


class _Edges:
    """The beginnings of globs; for their endings, reverse both texts."""

    def __init__(self) -> None:
        self._found: defaultdict[str, int] = defaultdict(int)
        self._lengths: set[int] = set()

    def add(self, beginning: str, bit: int) -> None:
        self._found[beginning] |= bit
        self._lengths.add(len(beginning))

    def of(self, text: str) -> int:
        found = 0
        for length in self._lengths:
            found |= self._found.get(text[:length], 0)
        return found


class _Search:
    """Regular expressions that RE2 searches at once."""

    def __init__(self, expressions: Sequence[tuple[str, int]]) -> None:
        self._all = functools.reduce(operator.or_, (bits for _, bits in expressions))
        self._bits = [0, *(bits for _, bits in expressions)]
        options = quiet()
        options.max_mem = MAX_SEARCH_BYTES
        self._set: re2.Set | None = re2.Set.SearchSet(options)
        for source in ("", *(source for source, _ in expressions)):
            self._set.Add(source)
        try:
            self._set.Compile()
        except re2.error:  # each is small enough, but all together are not
            self._set = None

    def found_in(self, text: str) -> int:
        """Return the matches whose expressions are in `text`; all if RE2 has too little memory."""
        found: Any = self._set.Match(text) if self._set else None
        if not found:  # out of memory: else the empty expression is found in every text
            return self._all
        return functools.reduce(operator.or_, map(self._bits.__getitem__, found))
