"""`eventgate-sidecar check`: prints problems in the format of compilers, then where each stream goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.streams import declared_in, stream_config_option
from sidecar.commands.terminal import (
    Complaints,
    aligned,
    counted,
    json_option,
    print_json,
    routes_option,
)
from sidecar.errors import SettingError

if TYPE_CHECKING:
    from sidecar.routes.inspection import Inspection
    from sidecar.routes.ways import Row

HEADINGS = ("stream", "upstream", "sent as", "topic prefix", "copies")


@click.command()
@routes_option
@stream_config_option
@json_option
def check(routes: Path, stream_config: str | None, as_json: bool) -> None:
    """Check a routes.yaml, run its tests, and show where streams go.

    Exit status: 0 if all is well, with or without warnings; 1 if there is a problem; 2 if the file cannot be read.
    """
    from sidecar.routes.file import read_text
    from sidecar.routes.inspection import inspect

    with Complaints():
        declared = declared_in(stream_config)
        found = inspect(read_text(routes), str(routes), declared=declared)
    if as_json:
        print_json(as_data(found))
    else:
        print(in_text(found, str(routes), len(declared.declarations) if declared else None), end="")
    if found.problems:
        sys.exit(1)


def in_text(found: Inspection, file: str, declared: int | None = None) -> str:
    """Return everything found in `file` as lines for a terminal or an editor.

    `declared`: the number of declared streams it was compared with.
    """
    problems = [*found.problems, *found.warnings]
    lines = [str(each) for each in sorted(problems, key=lambda each: each.place())]
    lines += [""] if problems else []
    if found.config is not None and not found.problems:
        rows, left_out = _rows(found)
        lines += [*_table(rows), *([f"no table: {left_out}"] if left_out else []), ""]
        lines += [f"note: serve needs --spool DIR, since {each}" for each in found.config.needs_spool]
    return "\n".join([*lines, f"{file}: {_summary(found, declared)}"]) + "\n"


def as_data(found: Inspection) -> dict[str, Any]:
    """Return the same for a program."""
    from sidecar.routes.ways import row_as_data

    rows, left_out = _rows(found)
    return {
        "ok": not found.problems,
        "problems": [asdict(each) for each in found.problems],
        "warnings": [asdict(each) for each in found.warnings],
        "needs_spool": found.config.needs_spool if found.config else [],
        "tests": len(found.config.tests) if found.config else 0,
        "matrix": [row_as_data(row) for row in rows],
        "matrix_left_out": left_out,
    }


def _summary(found: Inspection, declared: int | None) -> str:
    warned = [counted(len(found.warnings), "warning")] if found.warnings else []
    if found.problems:
        return ", ".join([counted(len(found.problems), "problem"), *warned])
    config = found.config
    parts = ((config.upstreams, "upstream"), (config.routes, "route"), (config.tests, "test")) if config else ()
    compared = [] if declared is None else [f"compared with {counted(declared, 'declared stream')}"]
    return (
        ", ".join([*(counted(len(each), noun) for each, noun in parts), *compared])
        + "; "
        + (warned[0] if warned else "all is well")
    )


def _rows(found: Inspection) -> tuple[list[Row], str | None]:
    """Return the table of a valid file, and why it is left out, if it is."""
    from sidecar.routes.ways import matrix

    try:
        return matrix(found.config) if found.config and not found.problems else [], None
    except SettingError as error:
        return [], str(error)


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a block for each kind of pod; a line if everything is refused."""
    from sidecar.routes.ways import pod_in_words

    any_kind = any(row.pod for row in rows)
    for kind, block in groupby(rows, key=lambda row: row.pod):
        of_pod = list(block)
        pod = pod_in_words(kind) if any_kind else "every pod"
        if all(row.way.refused for row in of_pod):
            yield f"{pod}: everything is refused"
        else:
            yield f"{pod}:"
            table = [HEADINGS, *(_cells(row) for row in of_pod)]
            copied = any(row.way.copy for row in of_pod)
            yield from aligned(table if copied else [cells[:-1] for cells in table])


def _cells(row: Row) -> tuple[str, ...]:
    way = row.way
    if way.depends_on is not None:
        return row.stream, f"depends on its {way.depends_on}", "", "", ""
    if way.upstream is None:
        return row.stream, "refused", "", "", ""
    name = "the same" if way.stream == row.stream else way.stream or ""
    copies = way.copy.in_words(row.stream) if way.copy else ""
    return row.stream, way.upstream, name, " ".join(way.topic_prefixes), copies
