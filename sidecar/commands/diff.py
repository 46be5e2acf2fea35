"""What an edit of `routes.yaml` changes, by effect: stream by stream, and for each kind of pod.

Two files are asked about the same streams and the same pods, those that either of them knows. A line that moved,
or a route that was renamed, changes nothing; a different name, upstream, URL or topic does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sidecar.errors import SettingError
from sidecar.events.event import Event
from sidecar.routes.config import Config, Match
from sidecar.routes.routing import Router
from sidecar.routes.samples import Labels, event_of, events_of, pods_of
from sidecar.routes.section import Section
from sidecar.routes.ways import Way, way_of

PRODUCTION = "production"
"""What the upstream is called whose Kafka topics the world reads."""

ELSEWHERE = frozenset({"url", "datacenters", "topic_prefixes"})
"""Settings of an upstream that show in the ways of streams."""


class Mark(StrEnum):
    """What a reviewer must not overlook."""

    TO_PRODUCTION = "starts writing to production"
    STOPS = "is no longer delivered"


@dataclass(frozen=True, slots=True)
class Change:
    """A stream that goes another way."""

    labels: Labels
    event: Event
    before: Way
    after: Way
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of an upstream that differs and moves no stream: `timeouts.attempt`."""

    upstream: str
    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Diff:
    """Everything that changes, and how much was compared."""

    changes: tuple[Change, ...]
    settings: tuple[Setting, ...]
    streams: int
    pods: int

    @property
    def marked(self) -> int:
        """How many changes a reviewer must not overlook."""
        return sum(change.mark is not None for change in self.changes)


def diff(old: Config, new: Config, more: Iterable[Event] = ()) -> Diff:
    """Compare two configurations by the ways of all streams and pods they know, and of the events in `more`."""
    events, pods = events_of([old, new], more), pods_of([old, new])
    changes = tuple(_changes(old, new, pods, events))
    return Diff(changes, tuple(_settings(old, new)), len({event.stream for event in events}), len(pods))


def streams_in(text: str, file: str) -> list[Event]:
    """Read a list of streams: a name in each line, and after it the `$schema` of its events where that matters.

    Raises:
        SettingError: a line holds more than that.

    """
    events = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if len(words) > 2:
            raise SettingError(
                f"{file}:{number}: {line.strip()!r} is no stream; write its name, and after it its schema"
            )
        if words:
            events.append(event_of(*words))
    return events


def _changes(old: Config, new: Config, pods: Sequence[Labels], events: Sequence[Event]) -> Iterator[Change]:
    production = _production_urls(old) | _production_urls(new)
    for labels in pods:
        before, after = Router(old, labels), Router(new, labels)
        seen: set[tuple[str | None, Way, Way]] = set()
        for event in events:
            ways = way_of(before, event), way_of(after, event)
            if ways[0] != ways[1] and (event.stream, *ways) not in seen:
                seen.add((event.stream, *ways))
                yield Change(labels, event, *ways, _mark(*ways, production))


def _production_urls(config: Config) -> set[str]:
    upstream = config.upstreams.get(PRODUCTION)
    return {url for _, url in upstream.endpoints} if upstream else set()


def _mark(before: Way, after: Way, production: set[str]) -> Mark | None:
    """Return what is worth a mark; an upstream that has production's URL is production, whatever it is called."""
    was, is_now = (way.upstream == PRODUCTION or bool(production.intersection(way.urls)) for way in (before, after))
    if is_now and not (was and before.stream == after.stream):
        return Mark.TO_PRODUCTION
    return Mark.STOPS if after.refused and not before.refused else None


def _settings(old: Config, new: Config) -> Iterator[Setting]:
    for name, after in new.upstreams.items():
        before = old.upstreams.get(name)
        if before is not None:
            pairs = zip(_values(before), _values(after), strict=True)
            yield from (Setting(name, key, was, is_now) for (key, was), (_, is_now) in pairs if was != is_now)


def _values(section: Section, above: str = "") -> Iterator[tuple[str, str]]:
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
