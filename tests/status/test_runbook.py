"""Promises of `runbook`: the page that the sidecar serves is docs/runbook.md, and safe."""

from __future__ import annotations

import re
from pathlib import Path

from sidecar.status.http import _runbook
from sidecar.status.runbook import Piece, blocks_of, read_runbook

FILE = Path(__file__).parent.parent.parent / "docs" / "runbook.md"


def test_it_is_complete() -> None:
    """Without Markdown marks, and with an anchor for each section."""
    text = FILE.read_text(encoding="utf-8")
    assert read_runbook() == text
    shown = _runbook()
    for heading in re.findall(r"^## (.*)$", text, re.MULTILINE):
        assert f'<h2 id="{heading.lower().replace(" ", "-")}">{heading}</h2>' in shown
    assert not re.search(r"\*\*|`|\]\(", shown.partition("</style>")[2])


def test_inline_markdown_is_rendered() -> None:
    """Bold and code stay; a link becomes its text, since its file is not there."""
    text = "## A b\n\n**Do:** see [the `x`](y.md) and `z`.\n\n```sh\na <b>\nc\n```\n"
    heading, block, commands = blocks_of(text)
    assert (heading.kind, heading.text) == ("h2", "A b")
    assert block.pieces == (
        Piece("strong", "Do:"),
        Piece("text", " see "),
        Piece("text", "the `x`"),
        Piece("text", " and "),
        Piece("code", "z"),
        Piece("text", "."),
    )
    assert (commands.kind, commands.text) == ("pre", "a <b>\nc")
