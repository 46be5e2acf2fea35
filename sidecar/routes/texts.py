"""Finds texts that match a pattern, so that rules can be evaluated for streams that only a pattern names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import re2

from sidecar.routes.language.pattern import Glob, Literal, Matcher, quiet

_TOKEN = re.compile(
    r"\\[pP](?:\w|\{\^?\w+\})|\\x\{\w+\}|\\x\w\w|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]"
    r"|\(\?P?<\w+>|\(\?[imsU-]*:|\(\?[imsU-]+\)|\{\d+(?:,\d*)?\}\??|[*+?]\??|.",
    re.DOTALL,
)
MAX_BRANCHES = 100
"""Maximum alternatives in an expression that get an example."""
_EDGES = frozenset(["^", "$", "\\b", "\\B", "\\A", "\\z"])
_CHARACTERS = "x0-_." + "".join(map(chr, range(33, 127))) + " "
"""Characters of names come first."""


def examples(matcher: Matcher) -> list[str]:
    """Return matching texts, one for each alternative inside an expression; an empty list if none is found."""
    if isinstance(matcher, Literal):
        return [matcher.source]
    if isinstance(matcher, Glob):
        pieces = ("x" if piece in "*?" else _member(piece) if len(piece) > 1 else piece for piece in matcher.pieces)
        texts = ["".join(pieces)]
    else:
        tokens = _TOKEN.findall(matcher.source)
        branches = range(min(tokens.count("|"), MAX_BRANCHES) + 1)
        texts = [_Reading(iter(tokens), branch).text()[0] for branch in branches]
    return list(dict.fromkeys(text for text in texts if text and matcher.groups_in(text) is not None))


def _member(piece: str) -> str:
    """Return a character that `[…]` in a glob matches."""
    found = Glob(piece)
    return next((each for each in _CHARACTERS if found.groups_in(each) is not None), "")


class _Reading:
    """Reads an expression once: the first alternative at each `|`, but the second at the `branch`-th one."""

    def __init__(self, tokens: Iterator[str], branch: int) -> None:
        self._tokens = tokens
        self._left = branch

    def text(self) -> tuple[str, bool]:
        """Return a text for the rest of a group, and whether the branch is in it."""
        parts: list[str] = []
        chosen: str | None = None
        here = found = False
        for token in self._tokens:
            if token == ")":  # noqa: S105  a token of an expression
                break
            if token == "|":  # noqa: S105
                chosen = "".join(parts) if chosen is None or here else chosen
                self._left -= 1
                parts, found, here = [], found or here, self._left == 0
            elif token.startswith("(") and not token.endswith(")"):
                text, inside = self.text()
                parts.append(text)
                here = here or inside
            elif token[0] in "*+?{":
                least = re.match(r"\{(\d+)", token)
                parts.append((parts.pop() if parts else "") * max(int(least[1]) if least else 1, 1))
            elif token not in _EDGES and not token.startswith("("):
                parts.append(_character(token))
        return ("".join(parts) if chosen is None or here else chosen), found or here


def _character(token: str) -> str:
    if len(token) == 1 and token != ".":  # noqa: S105
        return token
    try:
        found = re2.compile(token, quiet())
    except re2.error:
        return ""
    return next((each for each in _CHARACTERS if found.fullmatch(each)), "")
