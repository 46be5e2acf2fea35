"""`eventgate-sidecar diff`: compares two versions of `routes.yaml` by effect, not by text.

Both are applied to the same streams and pods, those that appear in either. Moving a line or renaming a route changes
nothing; another stream name, upstream, URL or topic does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.terminal import FILE, Complaints, argument, counted, json_option, markdown_table, print_json
from sidecar.errors import SettingError

if TYPE_CHECKING:
    from sidecar.events.event import Event
    from sidecar.routes.language.config import Config, Match, Route
    from sidecar.routes.language.section import Section
    from sidecar.routes.samples import Pod
    from sidecar.routes.ways import Way

PRODUCTION = "production"
"""The name of the upstream whose Kafka topics are public."""

ELSEWHERE = frozenset({"url", "datacenters", "topic_prefixes"})
"""Settings of an upstream that are compared by stream."""


class Danger(StrEnum):
    """A change that a reviewer must not overlook."""

    TO_PRODUCTION = "starts writing to production"
    STOPS = "is no longer delivered"


@dataclass(frozen=True, slots=True)
class Change:
    """A stream whose way changes."""

    labels: Pod
    event: Event
    before: Way
    after: Way
    mark: Danger | None
    stands_for: str | None = None
    """The patterns of which its event is an example."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A changed setting of an upstream that moves no stream, such as `timeouts.attempt`."""

    upstream: str
    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A changed key of a route, such as `match.stream`; if it is empty, the route is new or removed."""

    route: str
    key: str
    before: str
    after: str

    def __str__(self) -> str:
        """Return the change as a line."""
        if not self.key:
            return f"route {self.route} is new: {self.after}" if self.after else f"route {self.route} is removed"
        if self.before and self.after:
            return f"route {self.route}: {self.key} was {self.before}, is {self.after}"
        what = f"is new: {self.after}" if self.after else f"is removed: {self.before}"
        return f"route {self.route}: {self.key} {what}"


@dataclass(frozen=True, slots=True)
class Diff:
    """All changes, and the number of streams and pods compared."""

    changes: tuple[Change, ...]
    settings: tuple[Setting, ...]
    rules: tuple[Rule, ...]
    streams: int
    """Named streams, and examples of patterns that match none of these."""
    pods: int
    not_compared: tuple[str, ...] = ()
    """Patterns for which no matching text was found."""

    @property
    def marked(self) -> int:
        """The number of marked changes."""
        return sum(change.mark is not None for change in self.changes)


@click.command()
@argument("old", help="The old configuration.")
@argument("new", help="The new configuration.")
@click.option(
    "--streams",
    type=FILE,
    help="More streams to compare: one per line, a name and then its schema.",
    metavar="FILE",
)
@click.option("--format", "form", type=click.Choice(["text", "markdown"]), default="text", help="How to write it.")
@json_option
def diff(old: Path, new: Path, streams: Path | None, form: str, as_json: bool) -> None:
    """Show what an edit changes: which streams, from which pods.

    Exit status: 0 if nothing starts writing to production and nothing stops being delivered; 1 if something
    does; 2 if a file cannot be used, if `check` refuses NEW, or if there is too much to compare.
    """
    from sidecar.routes.file import read_config, read_text
    from sidecar.routes.inspection import inspect

    with Complaints():
        more = streams_in(read_text(streams), str(streams)) if streams else []
        found = compare(read_config(old), inspect(read_text(new), str(new)).approved, more)
    if as_json:
        print_json(as_data(found))
    else:
        print(in_markdown(found) if form == "markdown" else in_text(found), end="")
    if found.marked:
        sys.exit(1)


# --- what changes ---


def compare(old: Config, new: Config, more: Iterable[Event] = ()) -> Diff:
    """Compare two configurations for all streams and pods in them, and for the events in `more`.

    Raises:
        SettingError: there are too many.

    """
    from sidecar.routes.samples import events_of, examples_of, needs_not_too_many, pods_of, without_example

    named, pods = events_of([old, new], more), pods_of([old, new])
    events: list[tuple[Event, str | None]] = [(event, None) for event in named]
    events += examples_of([old, new], named)
    needs_not_too_many(pods, [event for event, _ in events])
    changes = tuple(_changes(old, new, pods, events))
    streams = len({event.stream for event, _ in events})
    missed = tuple(without_example([old, new], pods, [event for event, _ in events]))
    return Diff(changes, tuple(_settings(old, new)), tuple(_rules(old, new)), streams, len(pods), missed)


def streams_in(text: str, file: str) -> list[Event]:
    """Read a list of streams: a name in each line, and optionally the `$schema` of its events.

    Raises:
        SettingError: a line has more than that.

    """
    from sidecar.routes.samples import event_of

    events = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if len(words) > 2:
            raise SettingError(f"{file}:{number}: {line.strip()!r} is not a stream; write a name and then its schema")
        if words:
            events.append(event_of(*words))
    return events


def _changes(
    old: Config, new: Config, pods: Sequence[Pod], events: Sequence[tuple[Event, str | None]]
) -> Iterator[Change]:
    from sidecar.routes.index import Indexes
    from sidecar.routes.routing import Router
    from sidecar.routes.ways import way_of

    production = _production_urls(old) | _production_urls(new)
    indexes = Indexes(old), Indexes(new)
    for labels in pods:
        before, after = Router(old, labels, indexes[0]), Router(new, labels, indexes[1])
        seen: set[tuple[str | None, Way, Way]] = set()
        for event, stands_for in events:
            ways = way_of(before, event), way_of(after, event)
            if ways[0] != ways[1] and (event.stream, *ways) not in seen:
                seen.add((event.stream, *ways))
                yield Change(labels, event, *ways, _mark(*ways, production), stands_for)


def _production_urls(config: Config) -> set[str]:
    upstream = config.upstreams.get(PRODUCTION)
    return {url for _, url in upstream.endpoints} if upstream else set()


def _mark(before: Way, after: Way, production: set[str]) -> Danger | None:
    """Return the mark; an upstream with production's URL is production, whatever its name."""
    if _names_in_production(after, production) - _names_in_production(before, production):
        return Danger.TO_PRODUCTION
    return Danger.STOPS if after.refused and not before.refused else None


def _names_in_production(way: Way, production: set[str]) -> set[str | None]:
    """Return the names under which a stream's events and their copies are written to production."""
    return {each.stream for each in _parts(way) if each.upstream == PRODUCTION or production.intersection(each.urls)}


def _settings(old: Config, new: Config) -> Iterator[Setting]:
    for name, after in new.upstreams.items():
        before = old.upstreams.get(name)
        if before is not None:
            pairs = zip(_values(before), _values(after), strict=True)
            yield from (Setting(name, key, was, is_now) for (key, was), (_, is_now) in pairs if was != is_now)


def _rules(old: Config, new: Config) -> Iterator[Rule]:
    """Yield the differences in routes, except a mere change of name or position."""
    before, after = ({route.name: _keys(route) for route in config.routes} for config in (old, new))
    gone = [keys for name, keys in before.items() if name not in after]
    for name, keys in after.items():
        if name in before:
            for key in {**before[name], **keys}:
                was, is_now = before[name].get(key, ""), keys.get(key, "")
                if was != is_now:
                    yield Rule(name, key, was, is_now)
        elif keys in gone:
            gone.remove(keys)
        else:
            yield Rule(name, "", "", ", ".join(f"{key} {value}" for key, value in keys.items()))
    for name, keys in before.items():
        if name not in after and keys in gone:
            yield Rule(name, "", ", ".join(f"{key} {value}" for key, value in keys.items()), "")


def _keys(route: Route) -> dict[str, str]:
    """Return the keys of a route with their values, without its name."""
    found = {f"match.{key}": str(pattern) for key, pattern in route.match.patterns.items()}
    found |= {key: str(getattr(route, key)) for key in ("to", "reject", "stream") if getattr(route, key) is not None}
    if route.mirror is not None:
        name = f" as {route.mirror.stream}" if route.mirror.stream else ""
        found["mirror"] = f"{route.mirror.percent} % to {route.mirror.to}{name}"
    if route.acknowledge != "delivered":
        found["acknowledge"] = route.acknowledge
    return {**found, **({"order_by": ", ".join(route.order_by)} if route.order_by else {})}


def _values(section: Section, above: str = "") -> Iterator[tuple[str, str]]:
    from sidecar.routes.language.section import Section

    for key in section.__struct_fields__:
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from _values(value, f"{above}{key}.")
        elif key == "accepts":
            entries = [_match_in_words(entry) for entry in value] if value is not None else ["everything"]
            yield key, ", or ".join(entries)
        elif above or key not in ELSEWHERE:
            yield (
                f"{above}{key}",
                "none" if value is None else f"{value:g}s" if isinstance(value, float) else str(value),
            )


def _match_in_words(match: Match) -> str:
    return " and ".join(f"{key} {pattern}" for key, pattern in match.patterns.items()) or "everything"


# --- what is printed ---


def in_text(found: Diff) -> str:
    """Return the changes as lines for a terminal."""
    from sidecar.routes.ways import pod_in_words

    lines: list[str] = []
    for labels, changes in groupby(found.changes, key=lambda change: change.labels):
        lines.append(f"{pod_in_words(labels)}:")
        for change in changes:
            stream, before, after, mark = _cells(change)
            lines.append(f"{'!' if mark else ' '} {stream}{': ' if mark else ''}{mark}")
            lines.append(f"    {before} → {after}")
    lines += [f"upstream {each.upstream}: {each.key} was {each.before}, is {each.after}" for each in found.settings]
    lines += map(str, found.rules)
    lines += [""] if lines else []
    return "\n".join([*lines, *_summary(found)]) + "\n"


def in_markdown(found: Diff) -> str:
    """Return the changes as Markdown, for a comment on a review."""
    from sidecar.routes.ways import pod_in_words

    lines = ["**routes.yaml, by effect**", ""]
    if found.changes:
        rows = [(pod_in_words(change.labels), *_cells(change)) for change in found.changes]
        lines += [*markdown_table(("pod", "stream", "before", "after", "mark"), rows), ""]
    lines += [f"- upstream {each.upstream}: `{each.key}` was {each.before}, is {each.after}" for each in found.settings]
    lines += [f"- {each}" for each in found.rules]
    lines += [""] if found.settings or found.rules else []
    return "\n".join([*lines, *_summary(found)]) + "\n"


def as_data(found: Diff) -> dict[str, Any]:
    """Return the same for a program."""
    return {
        "changes": [_change_as_data(change) for change in found.changes],
        "settings": [asdict(each) for each in found.settings],
        "rules": [asdict(each) for each in found.rules],
        "marked": found.marked,
        "streams": found.streams,
        "pods": found.pods,
        "not_compared": list(found.not_compared),
    }


def _change_as_data(change: Change) -> dict[str, Any]:
    from sidecar.routes.ways import way_as_data

    return {
        "labels": dict(change.labels),
        "alike": {name: list(values) for name, values in change.labels.alike.items()},
        "stream": change.event.stream,
        "stands_for": change.stands_for,
        "schema": change.event.schema,
        "before": way_as_data(change.before),
        "after": way_as_data(change.after),
        "mark": change.mark,
    }


def _cells(change: Change) -> tuple[str, str, str, str]:
    ways, stream = (change.before, change.after), change.event.stream or ""
    before, after = (_in_words(way, stream) for way in ways)
    if before == after:  # the names are equal, but not the upstreams behind them
        before, after = (
            ", ".join(f"{each.upstream} at {', '.join(each.urls)}" for each in _parts(way)) for way in ways
        )
    if before == after:
        before, after = (f"topics {', '.join(t for e in _parts(way) for t in e.topics) or 'not said'}" for way in ways)
    stream += f" (an example of {change.stands_for})" if change.stands_for else ""
    return stream, before, after, change.mark or ""


def _in_words(way: Way, stream: str) -> str:
    if way.depends_on is not None:
        return f"depends on its {way.depends_on}"
    if way.upstream is None:
        return "refused"
    words = way.upstream if way.stream == stream else f"{way.upstream} as {way.stream}"
    return f"{words}, {way.copy.in_words(stream)}" if way.copy else words


def _parts(way: Way) -> tuple[Way, ...]:
    """Return the way of the events, and that of their copies."""
    return (way, way.copy) if way.copy else (way,)


def _summary(found: Diff) -> Iterator[str]:
    yield from (f"not compared: what {each} matches, since no example was found" for each in found.not_compared)
    compared = f"{counted(found.streams, 'stream')} from {counted(found.pods, 'kind')} of pods"
    if not found.changes:
        yield f"{compared}: every one goes the same way"
    else:
        marked = f", {found.marked} marked" if found.marked else ""
        yield f"{compared}: {counted(len(found.changes), 'change')}{marked}"
