"""Finds what has no effect in a file, although every line of it is valid.

A *mistake* is something nobody can intend: a route that no event reaches, or that its upstream never accepts. It is
refused like any other problem. A *warning* is shown and does no harm: an upstream that no route uses, an entry of
`accepts` that adds nothing.

Both compare patterns as they are written. `covers` (every text of the one is a text of the other) and
`disjoint` (no text is in both) are certain where they say yes; what only shows with a regular expression taken
apart is not said.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from sidecar.routes.config import Config, Route
from sidecar.routes.pattern import Glob, Literal, Matcher, Pattern, Regex
from sidecar.routes.section import Complaint

MAX_BOXES = 512
"""Combinations of alternatives of one `match` that are checked one by one; with more, it is checked as a whole."""

Box = Mapping[str, Pattern]
"""The keys of a `match`, each with its pattern: an event fits where all do."""

_PIECE = re.compile(r"\*|\?|\[!?+\]?+[^\]]*\]|.", re.DOTALL)
_RUN = re.compile(r"[*?]*\*[*?]*")


def mistakes(config: Config) -> Iterator[Complaint]:
    """Yield each part that has no effect and was certainly meant to have one."""
    boxes = [route.match.patterns for route in config.routes]
    for index, route in enumerate(config.routes):
        takers = _takers(boxes[index], boxes[:index])
        if takers:
            yield ("routes", index), _never_reached(config.routes, takers)
        elif _is_never_accepted(config, route):
            yield (
                ("routes", index, "to"),
                f"is {route.to!r}, which accepts nothing that this route takes; fix upstreams.{route.to}.accepts, "
                "or write reject with a reason",
            )


def warnings(config: Config) -> Iterator[Complaint]:
    """Yield each part that is superfluous and harmless."""
    used = {route.to for route in config.routes}
    for name, upstream in config.upstreams.items():
        if name not in used:
            yield ("upstreams", name), "is not used by any route; remove it, or add a route to it"
        for index, other in _superfluous([entry.patterns for entry in upstream.accepts or ()]):
            yield (
                ("upstreams", name, "accepts", index),
                f"is redundant: accepts[{other}] already accepts everything that it does; remove one of them",
            )


def _superfluous(entries: Sequence[Box]) -> Iterator[tuple[int, int]]:
    """Yield each entry that another one covers, with that one; of two that are equal the later."""
    for index, entry in enumerate(entries):
        for at, other in enumerate(entries):
            if at != index and _box_covers(other, entry) and (at < index or not _box_covers(entry, other)):
                yield index, at
                break


def _never_reached(routes: Sequence[Route], takers: Sequence[int]) -> str:
    names = " and ".join(f"routes[{index}] ({routes[index].name})" for index in takers)
    takes, that = ("takes", "that one") if len(takers) == 1 else ("take", "those")
    return f"is never reached: {names} {takes} every event that it matches; move it above {that}, or remove it"


def _takers(box: Box, earlier: Sequence[Box]) -> list[int]:
    """Return which earlier routes together take everything that `box` would; none if something is left for it."""
    for index, each in enumerate(earlier):
        if _box_covers(each, box):
            return [index]
    takers: set[int] = set()
    for part in _parts(box):
        taker = next((index for index, each in enumerate(earlier) if _box_covers(each, part)), None)
        if taker is None:
            return []
        takers.add(taker)
    return sorted(takers)


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


def _is_never_accepted(config: Config, route: Route) -> bool:
    """Whether certainly no event that `route` takes fits an entry of its upstream's `accepts`."""
    entries = config.upstreams[route.to].accepts if route.to is not None else None
    if entries is None:
        return False
    arriving = route.match.patterns
    if route.stream is not None:
        arriving.pop("stream", None)
        if not route.stream.placeholders:
            arriving["stream"] = Pattern.parse([route.stream.source])
    return all(_boxes_disjoint(arriving, entry.patterns) for entry in entries)


def _box_covers(wide: Box, narrow: Box) -> bool:
    return all(key in narrow and covers(pattern, narrow[key]) for key, pattern in wide.items())


def _boxes_disjoint(one: Box, other: Box) -> bool:
    return any(disjoint(one[key], other[key]) for key in one.keys() & other.keys())


def covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether certainly every text that matches `narrow` matches `wide`."""
    return all(any(matcher_covers(w, n) for w in wide.matchers) for n in narrow.matchers)


def disjoint(one: Pattern, other: Pattern) -> bool:
    """Whether certainly no text matches both."""
    return all(_matchers_disjoint(a, b) for a in one.matchers for b in other.matchers)


def matcher_covers(wide: Matcher, narrow: Matcher) -> bool:
    """Whether certainly every text of one alternative is a text of the other."""
    if isinstance(narrow, Literal):
        return wide.groups_in(narrow.text) is not None
    if isinstance(narrow, Regex):
        return _is_everything(wide) or (isinstance(wide, Regex) and wide.source == narrow.source)
    return isinstance(wide, Glob) and isinstance(narrow, Glob) and _fits(_pieces(wide), _pieces(narrow))


def _matchers_disjoint(one: Matcher, other: Matcher) -> bool:
    if isinstance(one, Literal):
        return other.groups_in(one.text) is None
    if isinstance(other, Literal):
        return one.groups_in(other.text) is None
    return isinstance(one, Glob) and isinstance(other, Glob) and not _meet(_pieces(one), _pieces(other))


def _is_everything(matcher: Matcher) -> bool:
    return isinstance(matcher, Glob) and _pieces(matcher) == ("*",)


def _pieces(glob: Glob) -> tuple[str, ...]:
    """Split a glob into `*`, `?`, `[…]` and single characters; of a run of `*` and `?` the `*` comes last, once."""
    ordered = (
        _RUN.sub(lambda run: "?" * run[0].count("?") + "*", glob.source) if "[" not in glob.source else glob.source
    )
    return tuple(_PIECE.findall(ordered))


@lru_cache(maxsize=256)
def _single(piece: str) -> Glob:
    return Glob(piece)


def _is_set(piece: str) -> bool:
    return len(piece) > 1


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
    return _is_set(wide) and len(narrow) == 1 and narrow != "?" and _single(wide).groups_in(narrow) is not None


def _meet(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether some text may match both; any two sets are assumed to have a character in common."""
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
    """Return the positions that both may reach with one more character, or by ending a `*`."""
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
    if "?" in (a, b) or a == b or (_is_set(a) and _is_set(b)):
        return True
    if _is_set(a):
        return _single(a).groups_in(b) is not None
    return _is_set(b) and _single(b).groups_in(a) is not None
