"""`eventgate-sidecar explain`: where one event goes, and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.streams import declared_in, stream_config_option
from sidecar.commands.terminal import (
    FILE,
    Complaints,
    json_option,
    label_option,
    labels_of,
    labels_variable,
    listen_option,
    print_json,
    routes_option,
)
from sidecar.errors import RequestError, SettingError

if TYPE_CHECKING:
    from sidecar.events.event import Event
    from sidecar.routes.explain import Copied, Explanation, Line, Tried
    from sidecar.routes.streamconfig import StreamConfig


@click.command()
@routes_option
@label_option
@labels_variable
@click.option("--stream", help="An event of this stream with no other content.", metavar="S")
@click.option("--event", type=FILE, help="A file with one event as JSON; - is standard input.", metavar="FILE")
@click.option("--running", is_flag=True, help="Query the sidecar that runs here, and show which address it would try.")
@listen_option(help="Where that sidecar listens.")
@stream_config_option
@json_option
def explain(
    routes: Path,
    label: Sequence[str],
    labels_variable: str,
    stream: str | None,
    event: Path | None,
    running: bool,
    listen: str,
    stream_config: str | None,
    as_json: bool,
) -> None:
    """Show which route takes an event, and why no earlier one does.

    With --running, the running sidecar decides by its own configuration and labels.

    Exit status: 0 if the event would be sent; 1 if it would be refused; 2 if a file cannot be used.
    """
    from sidecar.routes.explain import explanation
    from sidecar.routes.file import read_config
    from sidecar.routes.routing import Router

    with Complaints():
        declared = declared_in(stream_config)
        if running and label:
            raise SettingError("a running sidecar has its own labels; leave --label or --running out")
        service = None
        if running:
            from sidecar.status.ask import explained_by

            found = explained_by(listen, _event(stream, event))
        else:
            config = read_config(routes)
            found = explanation(Router(config, labels_of(label, labels_variable)), _event(stream, event))
            service = config.upstreams[found["upstream"]].event_service if found["upstream"] else None
    if as_json:
        print_json(found | ({"declared": declared_as_data(declared, found, service)} if declared else {}))
    else:
        print(in_text(found) + (tried_in_text(found["tried"]) if running else ""), end="")
        print(declared_in_text(declared, found, service) if declared else "", end="")
    if found["refused"]:
        sys.exit(1)


def _event(stream: str | None, file: Path | None) -> Event:
    from sidecar.events.event import parse
    from sidecar.routes.file import read_bytes
    from sidecar.routes.language.scalars import LARGEST

    if (stream is None) == (file is None):
        raise SettingError("explain needs an event: give one of --stream STREAM and --event FILE")
    if file is None:
        return parse(json.dumps({"meta": {"stream": stream}}).encode())[0]
    name, text = ("standard input", sys.stdin.buffer.read()) if str(file) == "-" else (file, read_bytes(file, LARGEST))
    try:
        events = parse(text)
    except RequestError as error:
        raise SettingError(f"{name} is not an event: {error}") from None
    if len(events) != 1:
        raise SettingError(f"{name} holds {len(events)} events; explain takes one")
    return events[0]


def in_text(found: Explanation) -> str:
    """Return an explanation as lines for a terminal."""
    labels = " ".join(f"{name}={value}" for name, value in found["labels"].items())
    schema = f", schema {found['schema']}" if found["schema"] else ""
    lines = [f"event of stream {found['stream'] or '(none)'}{schema}, labels {labels or '(none)'}"]
    lines += _marked(found["routes"])
    if found["refused"]:
        lines.append(f"refused: {found['refused']}")
        lines += _marked(found["accepts"])
    else:
        renamed = " (renamed)" if found["sent_as"] != found["stream"] else ""
        name = f"as {found['sent_as']}{renamed}" if found["sent_as"] else "as it is, without a stream"
        lines.append(f"sent to {found['upstream']} {name}")
        lines += _marked(found["accepts"])
        lines += [f"  topic {topic}" for topic in found["topics"]]
        lines += [f"  {url}" for url in found["endpoints"]]
        lines += _copied(found["copy"]) if found["copy"] else []
    return "\n".join(lines) + "\n"


def _copied(copy: Copied) -> list[str]:
    if copy["refused"]:
        return [f"no copy: {copy['refused']}"]
    which = f"{copy['percent']} % are copied" if copy["percent"] < 100 else "copied"
    return [f"{which} to {copy['upstream']} as {copy['sent_as']}", *(f"  topic {topic}" for topic in copy["topics"])]


def declared_as_data(declared: StreamConfig, found: Explanation, event_service: str | None) -> dict[str, Any] | None:
    """Return the declaration of the stream under which the event is sent, for a program; None if it is refused."""
    stream = found["sent_as"]
    if stream is None:
        return None
    declaration, other = declared.of(stream), declared.other_service(stream, event_service)
    faults = [
        declared.fault_of(stream, found["schema"]),
        other and f"it goes to {event_service}, but is declared for {other}",
    ]
    return {
        "schema_title": declaration and declaration.schema_title,
        "event_service": declaration and declaration.destination_event_service,
        "topics": list(declaration.topics) if declaration else [],
        "faults": [each for each in faults if each],
    }


def declared_in_text(declared: StreamConfig, found: Explanation, event_service: str | None) -> str:
    """Return the same as lines for a terminal."""
    data = declared_as_data(declared, found, event_service)
    if data is None:
        return ""
    topics = f", topics {' '.join(data['topics'])}" if data["topics"] else ""
    known = f"declared: schema {data['schema_title']}, event service {data['event_service'] or 'not given'}{topics}"
    lines = [known] if data["schema_title"] else []
    return "\n".join([*lines, *(f"! {words}" for words in data["faults"])]) + "\n"


def tried_in_text(tried: Sequence[Tried]) -> str:
    """Return the addresses in the order in which they would be used now."""
    lines = ["tried now:" if tried else "no address is known now"]
    lines += [
        f"  {'–' if each['place'] is None else each['place']} {each['endpoint']} {each['address']}: {each['state']}"
        for each in tried
    ]
    return "\n".join(lines) + "\n"


def _marked(lines: Sequence[Line]) -> list[str]:
    return [f"  {'✓' if each['matched'] else '·'} {each['name']}: {each['because']}" for each in lines]
