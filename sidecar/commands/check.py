"""What `check` prints: problems as a compiler shows them, then which way each stream goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from sidecar.routes.inspection import Inspection
from sidecar.routes.samples import Labels
from sidecar.routes.ways import Row, Way, matrix

HEADINGS = ("stream", "upstream", "sent as", "topic prefix")


def in_text(found: Inspection, file: str) -> str:
    """Return everything found in `file` as lines for a terminal or an editor."""
    problems = [*found.problems, *found.warnings]
    lines = [str(each) for each in sorted(problems, key=lambda each: each.place())]
    lines += [""] if problems else []
    if found.config is not None and not found.problems:
        lines += [*_table(matrix(found.config)), ""]
    return "\n".join([*lines, f"{file}: {_summary(found)}"]) + "\n"


def as_data(found: Inspection) -> dict[str, Any]:
    """Return the same for a program."""
    return {
        "ok": not found.problems,
        "problems": [asdict(each) for each in found.problems],
        "warnings": [asdict(each) for each in found.warnings],
        "tests": len(found.config.tests) if found.config else 0,
        "matrix": [row_as_data(row) for row in matrix(found.config)] if found.config and not found.problems else [],
    }


def row_as_data(row: Row) -> dict[str, Any]:
    """Return a row of the matrix for a program."""
    return {
        "labels": dict(row.labels),
        "stream": row.stream,
        "schema": row.event.schema,
        "route": row.way.route or None,
        **way_as_data(row.way),
    }


def way_as_data(way: Way) -> dict[str, Any]:
    """Return what becomes of a stream for a program."""
    return {
        "upstream": way.upstream,
        "sent_as": way.stream,
        "topics": list(way.topics),
        "refused": way.refusal,
        "depends_on": way.depends_on,
    }


def pod_in_words(labels: Labels) -> str:
    """Return what a pod is, as a table heads it."""
    return " ".join(f"{name}={value}" for name, value in labels.items()) or "no labels"


def _summary(found: Inspection) -> str:
    warned = [counted(len(found.warnings), "warning")] if found.warnings else []
    if found.problems:
        return ", ".join([counted(len(found.problems), "problem"), *warned])
    config = found.config
    parts = ((config.upstreams, "upstream"), (config.routes, "route"), (config.tests, "test")) if config else ()
    return ", ".join(counted(len(each), noun) for each, noun in parts) + "; " + (warned[0] if warned else "all is well")


def counted(number: int, noun: str) -> str:
    """Return `1 test`, `2 tests`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a block for each kind of pod; where all is refused, a line."""
    for labels, block in groupby(rows, key=lambda row: row.labels):
        of_pod = list(block)
        pod = pod_in_words(labels)
        if all(row.way.refused for row in of_pod):
            yield f"{pod}: everything is refused"
        else:
            yield f"{pod}:"
            yield from aligned([HEADINGS, *(_cells(row) for row in of_pod)])


def _cells(row: Row) -> tuple[str, ...]:
    way = row.way
    if way.depends_on is not None:
        return row.stream, f"depends on its {way.depends_on}", "", ""
    if way.upstream is None:
        return row.stream, "refused", "", ""
    same = way.stream == row.stream
    return row.stream, way.upstream, "the same" if same else way.stream or "", " ".join(way.topic_prefixes)


def aligned(table: Iterable[Sequence[str]]) -> list[str]:
    """Return the rows of a table with its columns below each other."""
    rows = [tuple(row) for row in table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
