"""Edits of text that others own: each finds its place by what is there, and is made once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class Unknown(Exception):
    """The text is not the one that the edits were written for; the message says which place is missing."""


@dataclass(frozen=True)
class Edit:
    """Replace lines, or put some after them or before them."""

    at: tuple[str, ...]
    """A part of each of the lines, which follow each other and are in one place only."""
    put: str
    how: str = "replace"
    """replace, after or before."""


def edited(text: str, edits: Iterable[Edit], name: str = "text") -> str:
    """Make the edits that are not made yet; the name is for the message.

    Raises:
        Unknown: an edit has no place, or more than one.

    """
    for edit in edits:
        if edit.put not in text:
            text = _made(text, edit, name)
    return text


def _made(text: str, edit: Edit, name: str) -> str:
    lines = text.splitlines(keepends=True)
    size = len(edit.at)
    places = [
        start
        for start in range(len(lines) - size + 1)
        if all(part in line for part, line in zip(edit.at, lines[start : start + size], strict=True))
    ]
    if len(places) != 1:
        raise Unknown(f"{name}: {len(places)} places have {' and then '.join(map(repr, edit.at))}; one was expected")
    (start,) = places
    end = start + size
    kept = {"replace": [], "after": lines[start:end], "before": lines[start:end]}[edit.how]
    new = [edit.put, *kept] if edit.how == "before" else [*kept, edit.put]
    return "".join([*lines[:start], *new, *lines[end:]])
