#!/usr/bin/env python3
"""Writes the table in docs/streams.md from routes.yaml, and the whole page as wikitext beside it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package of this folder, installed or not

from sidecar.commands.streams import Stream, in_markdown, in_wikitext, streams_of  # noqa: E402
from sidecar.routes.language import loader  # noqa: E402

PAGE = ROOT / "docs" / "streams.md"
TABLE = re.compile(r"(<!-- table: written by scripts/docs -->\n).*?(<!-- end of table -->)", re.DOTALL)
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```\n", re.MULTILINE | re.DOTALL)
LANGUAGES = {"console": "console", "sh": "bash", "yaml": "yaml"}


def renewed(page: str, streams: list[Stream]) -> str:
    """Return the page with its table regenerated."""
    page, times = TABLE.subn(lambda found: f"{found[1]}{in_markdown(streams)}{found[2]}", page)
    if times != 1:
        raise SystemExit(f"{PAGE.name} should have one place for the table, and has {times}")
    return page


def as_wikitext(page: str, streams: list[Stream]) -> str:
    """Return the page as MediaWiki has it, with as much of Markdown as it uses."""
    page = TABLE.sub("\0TABLE\n", page)
    blocks: list[str] = [in_wikitext(streams)]
    page = FENCE.sub(lambda found: _kept(_code(found), blocks, found[1]), page)
    page = re.sub(r"(?:^\|.*\n)+", lambda found: _kept(_table(found[0]), blocks), page, flags=re.MULTILINE)
    text = "\n".join(_lines(page.partition("\n")[2])).replace("\0TABLE", "\0" + "0\0")
    # Code that belongs to an item of a list stands in the item's line: only so does the list go on after it.
    text = re.sub(r"\n+( *)\0(\d+)\0\n?", lambda found: f"{'' if found[1] else chr(10)}{blocks[int(found[2])]}", text)
    return text.strip() + "\n"


def _kept(block: str, blocks: list[str], indent: str = "") -> str:
    """Put a block aside, so that nothing in it is taken for Markdown; return what stands for it."""
    blocks.append(block)
    return f"{indent}\0{len(blocks) - 1}\0\n"


def _code(found: re.Match[str]) -> str:
    indent, language, code = found.groups()
    plain = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
    return f'<syntaxhighlight lang="{LANGUAGES[language]}">\n{plain}</syntaxhighlight>\n'


def _table(markdown: str) -> str:
    headings, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines())
    lines = ['{| class="wikitable"', f"! {' !! '.join(headings)}"]
    for row in rows:
        lines += ["|-", *(f"| {_inline(cell)}" for cell in row)]
    return "\n".join([*lines, "|}"]) + "\n"


def _lines(page: str) -> Iterator[str]:
    for line in page.splitlines():
        heading = re.fullmatch(r"(#+) (.*)", line)
        item = re.fullmatch(r"(?:- |\d+\. )(.*)", line)
        if heading:
            yield f"{'=' * len(heading[1])} {heading[2]} {'=' * len(heading[1])}"
        elif item:
            yield f"{'*' if line.startswith('-') else '#'} {_inline(item[1])}"
        else:
            continued = line.startswith("   ") and line.strip() and "\0" not in line
            yield f"#: {_inline(line.strip())}" if continued else _inline(line)


def _inline(text: str) -> str:
    parts = re.split(r"`([^`]*)`", text)
    words = [f"<code><nowiki>{part}</nowiki></code>" if odd % 2 else _marked(part) for odd, part in enumerate(parts)]
    return "".join(words)


def _marked(text: str) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"'''\1'''", text)
    text = re.sub(r"\*(.+?)\*", r"''\1''", text)
    text = re.sub(r"\[([^]]+)\]\((https://[^)]+)\)", r"[\2 \1]", text)
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)


if __name__ == "__main__":
    shipped = streams_of(loader.read((ROOT / "routes.yaml").read_text(encoding="utf-8")))
    markdown = renewed(PAGE.read_text(encoding="utf-8"), shipped)
    PAGE.write_text(markdown, encoding="utf-8")
    PAGE.with_suffix(".wikitext").write_text(as_wikitext(markdown, shipped), encoding="utf-8")
