"""What `diff` prints: for a terminal, as Markdown for a review, or as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from sidecar.commands.check import counted, pod_in_words, way_as_data
from sidecar.commands.diff import Change, Diff
from sidecar.routes.ways import Way


def in_text(found: Diff) -> str:
    """Return the changes as lines for a terminal."""
    lines: list[str] = []
    for labels, changes in groupby(found.changes, key=lambda change: change.labels):
        lines.append(f"{pod_in_words(labels)}:")
        for change in changes:
            stream, before, after, mark = _cells(change)
            lines.append(f"{'!' if mark else ' '} {stream}{': ' if mark else ''}{mark}")
            lines.append(f"    {before} → {after}")
    lines += [f"upstream {each.upstream}: {each.key} was {each.before}, is {each.after}" for each in found.settings]
    lines += [""] if lines else []
    return "\n".join([*lines, *_summary(found)]) + "\n"


def in_markdown(found: Diff) -> str:
    """Return the changes as Markdown, for a comment on a review."""
    lines = ["**routes.yaml, by effect**", ""]
    if found.changes:
        rows = [(pod_in_words(change.labels), *_cells(change)) for change in found.changes]
        lines += [*markdown_table(("pod", "stream", "before", "after", "mark"), rows), ""]
    lines += [f"- upstream {each.upstream}: `{each.key}` was {each.before}, is {each.after}" for each in found.settings]
    lines += [""] if found.settings else []
    return "\n".join([*lines, *_summary(found)]) + "\n"


def as_data(found: Diff) -> dict[str, Any]:
    """Return the same for a program."""
    return {
        "changes": [_change_as_data(change) for change in found.changes],
        "settings": [asdict(each) for each in found.settings],
        "marked": found.marked,
        "streams": found.streams,
        "pods": found.pods,
    }


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _change_as_data(change: Change) -> dict[str, Any]:
    return {
        "labels": dict(change.labels),
        "stream": change.event.stream,
        "schema": change.event.schema,
        "before": way_as_data(change.before),
        "after": way_as_data(change.after),
        "mark": change.mark,
    }


def _cells(change: Change) -> tuple[str, str, str, str]:
    ways, stream = (change.before, change.after), change.event.stream or ""
    before, after = (_in_words(way, stream) for way in ways)
    if before == after:  # the names are the same, what they stand for is not
        before, after = (f"{way.upstream} at {', '.join(way.urls)}" for way in ways)
    if before == after:
        before, after = (f"topics {', '.join(way.topics) or 'not said'}" for way in ways)
    return stream, before, after, change.mark or ""


def _in_words(way: Way, stream: str) -> str:
    if way.depends_on is not None:
        return f"depends on its {way.depends_on}"
    if way.upstream is None:
        return "refused"
    return way.upstream if way.stream == stream else f"{way.upstream} as {way.stream}"


def _summary(found: Diff) -> Iterator[str]:
    compared = f"{counted(found.streams, 'stream')} from {counted(found.pods, 'kind')} of pods"
    if not found.changes:
        yield f"{compared}: every one goes the same way"
    else:
        marked = f", {found.marked} marked" if found.marked else ""
        yield f"{compared}: {counted(len(found.changes), 'change')}{marked}"
