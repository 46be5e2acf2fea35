"""Parses docs/runbook.md for the page that the sidecar shows, for operators who only have a port-forward.

It supports the Markdown of that file: headings, paragraphs, fenced blocks, and bold, code and links in a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_INLINE = re.compile(r"\*\*(?P<strong>.+?)\*\*|`(?P<code>[^`]+)`|\[(?P<link>[^\]]+)\]\([^)]*\)")


class Piece(NamedTuple):
    """A part of a paragraph: `kind` is strong, code or text."""

    kind: str
    text: str


class Block(NamedTuple):
    """A heading (`h1`, `h2`), a paragraph (`p`) or a block of commands (`pre`)."""

    kind: str
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The text without formatting."""
        return "".join(each.text for each in self.pieces)


def read_runbook() -> str:
    """Return the text; in a wheel the file is beside this module, in a checkout in docs."""
    here = Path(__file__).parent
    places = (here / "runbook.md", here.parent.parent / "docs" / "runbook.md")
    return next(path for path in places if path.is_file()).read_text(encoding="utf-8")


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the blocks of a page in Markdown."""
    for block in text.strip().split("\n\n"):
        if block.startswith("```"):
            yield Block("pre", (Piece("text", "\n".join(block.splitlines()[1:-1])),))
        elif block.startswith("#"):
            marks, _, heading = block.partition(" ")
            yield Block(f"h{len(marks)}", tuple(_pieces(heading)))
        else:
            yield Block("p", tuple(_pieces(block)))


def _pieces(text: str) -> Iterator[Piece]:
    end = 0
    for found in _INLINE.finditer(text):
        if found.start() > end:
            yield Piece("text", text[end : found.start()])
        kind = found.lastgroup or "text"
        yield Piece("text" if kind == "link" else kind, found[kind])
        end = found.end()
    if text[end:]:
        yield Piece("text", text[end:])
