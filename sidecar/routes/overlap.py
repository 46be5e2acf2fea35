"""What two patterns have in common, told from how they are written.

Both answers are certain where they are yes: `covers` (every text of the one is a text of the other) and `disjoint`
(no text is in both). What regular expressions other than equal ones have in common is not told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from sidecar.routes.pattern import Glob, Literal, Matcher, Pattern, Regex

_PIECE = re.compile(r"\*|\?|\[!?+\]?+[^\]]*\]|.", re.DOTALL)
_RUN = re.compile(r"[*?]*\*[*?]*")


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
    """Whether some text may fit both; a set is taken to meet every other set."""
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
    """Return where both may stand after one character more, or after a `*` that is over."""
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
