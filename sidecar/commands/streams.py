"""`eventgate-sidecar streams`: prints a table of streams, upstreams and topics.

It is for the page Machine_Learning/LiftWing/Streams. The model server that writes a stream is taken from the label
`isvc` of the tests in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.terminal import Complaints, argument, json_option, markdown_table, print_json

if TYPE_CHECKING:
    from sidecar.routes.config import Config
    from sidecar.routes.samples import Labels
    from sidecar.routes.ways import Row, Way

ISVC = "isvc"
"""The label that names a model server: KServe's InferenceService."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, by the name that model servers use."""

    name: str
    schemas: tuple[str, ...]
    model_servers: tuple[str, ...]
    ways: tuple[tuple[Labels, Way], ...]
    """For each kind of pod that may send events; several if the event decides."""


@click.command()
@argument("file", default="routes.yaml", help="The configuration to show; default: routes.yaml.")
@click.option(
    "--format", "form", type=click.Choice(["markdown", "wikitext"]), default="markdown", help="How to write it."
)
@json_option
def streams(file: Path, form: str, as_json: bool) -> None:
    """Show the streams of a routes.yaml: who writes them, and their Kafka topics.

    Exit status: 0 if it is shown; 2 if the file cannot be used.
    """
    from sidecar.routes.file import read_config

    with Complaints():
        found = streams_of(read_config(file))
    if as_json:
        print_json(as_data(found))
    else:
        print(in_wikitext(found) if form == "wikitext" else in_markdown(found), end="")


def streams_of(config: Config) -> list[Stream]:
    """Return all streams named in `config`."""
    from sidecar.routes.ways import matrix

    rows = matrix(config)
    kinds = [row.labels for row in rows]
    heard = [labels for labels in kinds if not all(row.way.refused for row in rows if row.labels == labels)]
    names = dict.fromkeys(row.stream for row in rows)
    return [
        _stream(name, [row for row in rows if row.stream == name and row.labels in heard], config) for name in names
    ]


def _stream(name: str, rows: Sequence[Row], config: Config) -> Stream:
    tested = [test for test in config.tests if _stream_in(test.event) == name]
    schemas = [str(test.event["$schema"]) for test in tested if "$schema" in test.event]
    servers = [test.labels[ISVC] for test in tested if ISVC in test.labels]
    ways = tuple((row.labels, row.way) for row in rows)
    return Stream(name, tuple(dict.fromkeys(schemas)), tuple(dict.fromkeys(servers)), ways)


def _stream_in(event: dict[str, Any]) -> object:
    meta = event.get("meta")
    return meta.get("stream") if isinstance(meta, dict) else None


def in_markdown(streams: Sequence[Stream]) -> str:
    """Format the table as Markdown."""
    headings, rows = _cells(streams)
    code = [[", ".join(f"`{word}`" if coded else word for word, coded in cell) for cell in row] for row in rows]
    return "\n".join(markdown_table(headings, code)) + "\n"


def in_wikitext(streams: Sequence[Stream]) -> str:
    """Format the table as wikitext."""
    headings, rows = _cells(streams)
    lines = ['{| class="wikitable sortable"', f"! {' !! '.join(headings)}"]
    for row in rows:
        lines.append("|-")
        lines += [f"| {'<br>'.join(_wiki_code(word) if coded else word for word, coded in cell)}" for cell in row]
    return "\n".join([*lines, "|}"]) + "\n"


def as_data(streams: Sequence[Stream]) -> list[dict[str, Any]]:
    """Return the table for JSON."""
    from sidecar.routes.ways import way_as_data

    return [
        {
            "stream": stream.name,
            "schemas": list(stream.schemas),
            "model_servers": list(stream.model_servers),
            "ways": [{"labels": dict(labels), **way_as_data(way)} for labels, way in stream.ways],
        }
        for stream in streams
    ]


def _wiki_code(word: str) -> str:
    return f"<code><nowiki>{word}</nowiki></code>"


_Cell = list[tuple[str, bool]]
"""Words, and whether each is code."""


def _cells(streams: Sequence[Stream]) -> tuple[list[str], list[list[_Cell]]]:
    from sidecar.routes.ways import pod_in_words

    pods = list(dict.fromkeys(pod_in_words(labels) for stream in streams for labels, _ in stream.ways))
    rows = [
        [
            _code([stream.name]),
            _code(stream.schemas),
            _code(stream.model_servers),
            *(
                [word for labels, way in stream.ways if pod_in_words(labels) == pod for word in _words(way)]
                for pod in pods
            ),
        ]
        for stream in streams
    ]
    return ["stream", "schema", "written by, for example", *(f"from {pod}" for pod in pods)], rows


def _code(words: Sequence[str]) -> _Cell:
    return [(word, True) for word in words]


def _words(way: Way) -> Iterator[tuple[str, bool]]:
    """Yield the EventGate and the Kafka topics of a stream, or why it has none."""
    if way.depends_on is not None:
        yield f"depends on its {way.depends_on}", False
    elif way.upstream is None:
        yield "nowhere: refused", False
    else:
        yield f"{way.upstream} EventGate", False
        yield from _code(way.topics or [way.stream or ""])
        if way.copy is not None:
            share = f" of {way.copy.percent} %" if way.copy.percent < 100 else ""
            yield f"copies{share}: {way.copy.upstream} EventGate", False
            yield from _code(way.copy.topics or [way.copy.stream])
