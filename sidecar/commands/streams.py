"""`eventgate-sidecar streams`: prints a table of streams, upstreams and topics.

It is for the page Machine_Learning/LiftWing/Streams. The model server that writes a stream is taken from the label
`isvc` of the tests in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar import __version__
from sidecar.commands.terminal import (
    Complaints,
    json_option,
    markdown_table,
    print_json,
    routes_option,
)
from sidecar.errors import SettingError

if TYPE_CHECKING:
    from sidecar.routes.language.config import Config
    from sidecar.routes.samples import Pod
    from sidecar.routes.streamconfig import Declaration, StreamConfig
    from sidecar.routes.ways import Row, Way

FETCH_SECONDS = 10.0
"""Deadline for the whole of MediaWiki's answer."""
MAX_DECLARED_BYTES = 16 * 1024 * 1024
"""Size of that answer, decompressed; Wikimedia's is much smaller."""
ISVC = "isvc"
"""The label that names a model server: KServe's InferenceService."""


stream_config_option = click.option(
    "--stream-config",
    help="Compare with the declared streams: MediaWiki's answer to action=streamconfigs&all_settings=true.",
    metavar="FILE|URL",
)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, by the name that model servers use."""

    name: str
    schemas: tuple[str, ...]
    model_servers: tuple[str, ...]
    ways: tuple[tuple[Pod, Way], ...]
    """For each kind of pod that may send events; several if the event decides."""
    declared: Declaration | None = None
    """Its declaration; None if there is none, or it is unknown."""


@click.command()
@routes_option
@click.option(
    "--format", "form", type=click.Choice(["markdown", "wikitext"]), default="markdown", help="How to write it."
)
@stream_config_option
@json_option
def streams(routes: Path, form: str, stream_config: str | None, as_json: bool) -> None:
    """List the streams of a routes.yaml with their Kafka topics.

    Exit status: 0 if it is shown; 2 if the file cannot be used.
    """
    from sidecar.routes.file import read_config

    with Complaints():
        declared = declared_in(stream_config)
        found = streams_of(read_config(routes), declared)
    if as_json:
        print_json(as_data(found, declared=declared is not None))
    else:
        shown = in_wikitext if form == "wikitext" else in_markdown
        print(shown(found, declared=declared is not None), end="")


def declared_in(source: str | None) -> StreamConfig | None:
    """Return the declarations in a file or at a URL; None if there is no source.

    Raises:
        SettingError: they cannot be read or fetched, or are something else.

    """
    from sidecar.routes.file import read_bytes
    from sidecar.routes.streamconfig import read

    if source is None:
        return None
    if source.startswith(("http://", "https://")):
        import asyncio

        return read(asyncio.run(_fetched(source)), source)
    return read(read_bytes(Path(source), MAX_DECLARED_BYTES), source)


async def _fetched(url: str) -> bytes:
    import asyncio

    import httpx

    headers = {"accept": "application/json", "user-agent": f"eventgate-sidecar/{__version__}"}
    body = b""
    try:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx.AsyncClient(headers=headers, timeout=FETCH_SECONDS, follow_redirects=True) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != 200:
                raise SettingError(f"cannot fetch {url}: it answers {answer.status_code}")
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_DECLARED_BYTES:
                    raise SettingError(f"cannot fetch {url}: the answer is over {MAX_DECLARED_BYTES} bytes")
    except TimeoutError:
        raise SettingError(f"cannot fetch {url}: the answer is not complete after {FETCH_SECONDS:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SettingError(f"cannot fetch {url}: {str(error) or type(error).__name__}") from None
    return body


def streams_of(config: Config, declared: StreamConfig | None = None) -> list[Stream]:
    """Return all streams named in `config`, with their declarations.

    Raises:
        SettingError: there are too many kinds of pods.

    """
    from sidecar.routes.ways import matrix, pod_in_words

    rows = matrix(config)
    heard = {pod_in_words(row.pod) for row in rows if not row.way.refused}
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.stream, []).extend([row] if pod_in_words(row.pod) in heard else [])
    found = [_stream(name, of_name, config) for name, of_name in by_name.items()]
    return [replace(each, declared=declared.of(each.name)) for each in found] if declared else found


def _stream(name: str, rows: Sequence[Row], config: Config) -> Stream:
    tested = [test for test in config.tests if _stream_in(test.event) == name]
    schemas = [str(test.event["$schema"]) for test in tested if "$schema" in test.event]
    servers = [test.labels[ISVC] for test in tested if ISVC in test.labels]
    ways = tuple((row.pod, row.way) for row in rows)
    return Stream(name, tuple(dict.fromkeys(schemas)), tuple(dict.fromkeys(servers)), ways)


def _stream_in(event: dict[str, Any]) -> object:
    meta = event.get("meta")
    return meta.get("stream") if isinstance(meta, dict) else None


def in_markdown(streams: Sequence[Stream], *, declared: bool = False) -> str:
    """Format the table as Markdown; `declared`: with the declaration of each stream."""
    headings, rows = _cells(streams, declared=declared)
    code = [[", ".join(f"`{word}`" if coded else word for word, coded in cell) for cell in row] for row in rows]
    return "\n".join(markdown_table(headings, code)) + "\n"


def in_wikitext(streams: Sequence[Stream], *, declared: bool = False) -> str:
    """Format the table as wikitext; `declared`: with the declaration of each stream."""
    headings, rows = _cells(streams, declared=declared)
    lines = ['{| class="wikitable sortable"', f"! {' !! '.join(headings)}"]
    for row in rows:
        lines.append("|-")
        lines += [f"| {'<br>'.join(_wiki_code(word) if coded else word for word, coded in cell)}" for cell in row]
    return "\n".join([*lines, "|}"]) + "\n"


def as_data(streams: Sequence[Stream], *, declared: bool = False) -> list[dict[str, Any]]:
    """Return the table for JSON; `declared`: with the declaration of each stream."""
    import msgspec

    from sidecar.routes.ways import way_as_data

    return [
        {
            "stream": stream.name,
            "schemas": list(stream.schemas),
            "model_servers": list(stream.model_servers),
            "ways": [{"labels": dict(pod), **way_as_data(way)} for pod, way in stream.ways],
            **({"declared": msgspec.to_builtins(stream.declared)} if declared else {}),
        }
        for stream in streams
    ]


def _wiki_code(word: str) -> str:
    return f"<code><nowiki>{word}</nowiki></code>"


_Cell = list[tuple[str, bool]]
"""Words, and whether each is code."""


def _cells(streams: Sequence[Stream], *, declared: bool) -> tuple[list[str], list[list[_Cell]]]:
    from sidecar.routes.ways import pod_in_words

    pods = list(dict.fromkeys(pod_in_words(kind) for stream in streams for kind, _ in stream.ways))
    rows = [
        [
            _code([stream.name]),
            _code(stream.schemas),
            _code(stream.model_servers),
            *([_declared(stream.declared)] if declared else []),
            *([word for kind, way in stream.ways if pod_in_words(kind) == pod for word in _words(way)] for pod in pods),
        ]
        for stream in streams
    ]
    headings = ["stream", "schema", "written by, for example", *(["declared"] if declared else [])]
    return [*headings, *(f"from {pod}" for pod in pods)], rows


def _declared(declaration: Declaration | None) -> _Cell:
    if declaration is None:
        return [("not declared", False)]
    return _code([each for each in (declaration.schema_title, declaration.destination_event_service) if each])


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
            yield from _code(way.copy.topics or [way.copy.stream or ""])
