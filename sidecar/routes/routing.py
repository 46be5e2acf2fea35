"""Decides which upstream an event goes to, and under which stream name.

`_first_mismatch` serves both the request path ("does this route take it?") and `explain` ("why not?"), so that they
cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from sidecar.events.event import Event
from sidecar.events.outgoing import Copy
from sidecar.routes.index import Index, Indexes, numbers
from sidecar.routes.language.config import Config, Match, Route, Upstream
from sidecar.routes.language.pattern import STREAM_NAME, Pattern, Template

MAX_REMEMBERED = 1024
"""Pairs of stream and schema whose decision is cached; a producer can make up any number."""
MAX_REMEMBERED_LENGTH = 512
"""Maximum characters of a cached pair; longer ones are made up."""


class Decision(msgspec.Struct, frozen=True):
    """The decision for an event: sent to `upstream`, renamed if `stream` is not None, or refused."""

    route: str
    """Name of the route that took it; empty if none did."""
    upstream: str | None = None
    stream: str | None = None
    refusal: str | None = None
    """Why it is refused and what to do, for the producer; None if it is sent."""
    order_by: tuple[str, ...] = ()
    """Dotted paths: events with the same values there keep their order."""
    spool_first: bool = False
    """Whether its producer is answered as soon as it is in the spool."""
    copy: Copy | None = None
    """The copy for its route's `mirror`, even if it is refused."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first key of a `match` that an event does not meet."""

    key: str
    """As `routes.yaml` writes it: `labels.env`, `stream`, `event.page.page_id`."""
    wanted: str
    found: str | None
    """None: the event or the pod has no such key."""

    def __str__(self) -> str:
        """Return it as a line of `explain`."""
        found = "there is none" if self.found is None else f"it is {self.found}"
        return f"{self.key} should match {self.wanted}, but {found}"


@dataclass(frozen=True, slots=True)
class Step:
    """A route that was tried for an event."""

    route: Route
    mismatch: Mismatch | None
    """None: this route took the event."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """The comparison of an event with the `accepts` of its upstream."""

    upstream: str
    stream: str | None
    """The stream's name there."""
    acceptance: tuple[Mismatch | None, ...]
    """The mismatch of each entry, up to the first that matches (None)."""


class Router:
    """The routes of one configuration, for one set of labels."""

    def __init__(self, config: Config, labels: Mapping[str, str], indexes: Indexes | None = None) -> None:
        """`labels` are the pod's, and do not change while it runs. Pass `indexes` if they exist already."""
        self.config = config
        self.labels = dict(labels)
        self.indexes = indexes or Indexes(config)
        self._routes = _Rules([route.match for route in config.routes], self.indexes.routes, self.labels)
        self._accepts = {
            name: _Rules(upstream.accepts, self.indexes.accepts[name], self.labels)
            for name, upstream in config.upstreams.items()
            if upstream.accepts is not None
        }
        self._remembered: dict[tuple[str | None, str | None], Decision] = {}
        self._label_missing = {route.name: label for route, key, label in self.missing_labels if key == ("stream",)}

    def decide(self, event: Event) -> Decision:
        """Return the decision for `event`: the first route that matches takes it.

        Decisions by stream and schema only are cached.
        """
        if event.unclear:
            return Decision("", refusal=f"no route takes it, because {event.unclear}")
        key = (event.stream, event.schema)
        decision = self._remembered.get(key)
        if decision is None:
            looked = self._look(event)
            decision = self._decide(event, looked)
            if not looked.inside and len(event.stream or "") + len(event.schema or "") <= MAX_REMEMBERED_LENGTH:
                if len(self._remembered) >= MAX_REMEMBERED:
                    self._remembered.clear()
                self._remembered[key] = decision
        return decision

    def _decide(self, event: Event, looked: _LookedAt) -> Decision:
        number = self._routes.first(event.stream, looked)
        if number is not None:
            return self._decision(self.config.routes[number], event, looked)
        return Decision(
            "",
            refusal=f"no route in routes.yaml takes {_of(event.stream)} from {self._pod}; "
            "post to a stream that has a route, or ask for one",
        )

    def _look(self, event: Event) -> _LookedAt:
        return _LookedAt(event, self.indexes.paths)

    def lacks(self, event: Event) -> str | None:
        """Return the key, such as `schema`, that `event` needs before it can be decided; None: nothing is missing."""
        if event.unclear:
            return None
        looked = self._look(event)
        number, lacking = self._routes.first_or_lacking(event.stream, looked)
        if number is None or lacking is not None:
            return lacking
        route = self.config.routes[number]
        stream, unnamed = self._naming(route, event)
        if unnamed is not None or self._accepted(route.to or "", stream or event.stream, looked):
            return None
        return self._accepts[route.to or ""].first_or_lacking(stream or event.stream, looked)[1]

    def accepts(self, upstream: str, stream: str | None, event: Event) -> bool:
        """Whether an entry of `upstream`'s `accepts` matches `event` under the name `stream`."""
        return self._accepted(upstream, stream, self._look(event))

    def _accepted(self, upstream: str, stream: str | None, looked: _LookedAt) -> bool:
        rules = self._accepts.get(upstream)
        return rules is None or rules.first(stream, looked) is not None

    def explain(self, event: Event) -> tuple[tuple[Step, ...], Decision]:
        """Return the routes tried, in order, each with its mismatch, and the decision."""
        steps: list[Step] = []
        looked = self._look(event)
        for route in () if event.unclear else self.config.routes:
            steps.append(Step(route, _first_mismatch(route.match, event.stream, looked, self.labels)))
            if steps[-1].mismatch is None:
                break
        return tuple(steps), self.decide(event)

    def arrival(self, event: Event) -> Arrival | None:
        """Return how `event` compares with its upstream's `accepts`; None if no route sends it to one."""
        looked = self._look(event)
        number = None if event.unclear else self._routes.first(event.stream, looked)
        if number is None:
            return None
        route = self.config.routes[number]
        stream, unnamed = self._naming(route, event)
        if route.to is None or unnamed is not None:
            return None
        final = stream or event.stream
        return Arrival(route.to, final, tuple(self._acceptance(route.to, final, looked)))

    def _acceptance(self, upstream: str, stream: str | None, event: _LookedAt) -> Iterator[Mismatch | None]:
        for entry in self.config.upstreams[upstream].accepts or ():
            mismatch = _first_mismatch(entry, stream, event, self.labels)
            yield mismatch
            if mismatch is None:
                return

    @property
    def missing_labels(self) -> Iterator[tuple[Route, tuple[str, ...], str]]:
        """Routes that use a label that this pod does not have, each with the key and the label."""
        for route in self.indexes.with_labels:
            if _first_label_mismatch(route.match, self.labels) is None:
                yield from ((route, ("stream",), label) for label in self._missing(route.stream))
                if route.mirror is not None:
                    yield from ((route, ("mirror", "stream"), label) for label in self._missing(route.mirror.stream))

    def _missing(self, template: Template | None) -> list[str]:
        return sorted(template.labels - self.labels.keys()) if template else []

    @property
    def reachable(self) -> set[str]:
        """The upstreams of this pod's routes."""
        return {each.to for each in self._own_routes if each.to}

    @property
    def mirrored_to(self) -> set[str]:
        """The upstreams of this pod's mirrors."""
        return {each.mirror.to for each in self._own_routes if each.mirror}

    @property
    def _own_routes(self) -> list[Route]:
        return [each for each in self.config.routes if not _first_label_mismatch(each.match, self.labels)]

    @property
    def _pod(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.labels.items()) or "a pod without labels"

    def _decision(self, route: Route, event: Event, looked: _LookedAt) -> Decision:
        if route.to is None:
            return Decision(route.name, refusal=f"route {route.name} refuses it: {route.reject}")
        stream, unnamed = self._naming(route, event)
        if unnamed is not None:
            return Decision(route.name, refusal=unnamed)
        final = stream or event.stream
        if not self._accepted(route.to, final, looked):
            return Decision(
                route.name,
                refusal=f"route {route.name} sends it to {route.to}, which does not accept {_of(final)} "
                f"from {self._pod}; see upstreams.{route.to}.accepts in routes.yaml",
            )
        return Decision(
            route.name,
            route.to,
            stream,
            order_by=tuple(route.order_by),
            spool_first=route.acknowledge == "spooled",
            copy=self._copy(route, event, looked, final) if route.mirror else None,
        )

    def _copy(self, route: Route, event: Event, looked: _LookedAt, sent_as: str | None) -> Copy:
        """Return the copy of an event that `route` sends under the name `sent_as`."""
        mirror = route.mirror
        assert mirror is not None  # noqa: S101
        upstreams, refusal = self.config.upstreams, None
        missing = self._missing(mirror.stream)
        stream = event.stream if missing else (self._new_name(mirror.stream, route.match, event) or event.stream)
        if missing:
            refusal = f"it takes its name from label {missing[0]}, which {self._pod} does not have"
        elif stream is not None and not STREAM_NAME.fullmatch(stream):
            refusal = f"{stream!r} is not a valid stream name"
        elif stream == sent_as and is_same_eventgate(upstreams[route.to or ""], upstreams[mirror.to]):
            refusal = f"{mirror.to} is the EventGate that the event itself is sent to, under the same name"
        elif not self._accepted(mirror.to, stream, looked):
            refusal = f"{mirror.to} does not accept {_of(stream)} from {self._pod}"
        return Copy(route.name, mirror.to, stream or "", mirror.percent, refusal)

    def _naming(self, route: Route, event: Event) -> tuple[str | None, str | None]:
        """Return the stream's new name, None if it stays; and why it cannot be renamed, None if it can."""
        label = self._label_missing.get(route.name)
        if label is not None:  # `serve` does not start then, but `check` and `explain` take any labels
            return None, f"route {route.name} uses label {label}, which {self._pod} does not have"
        stream = self._new_name(route.stream, route.match, event)
        if stream is not None and not STREAM_NAME.fullmatch(stream):
            return None, f"route {route.name} would rename its stream to {stream!r}, which is not a valid stream name"
        return stream, None

    def _new_name(self, template: Template | None, match: Match, event: Event) -> str | None:
        """Return the stream's new name, or None if it stays; an event without a stream does not get one."""
        if template is None or event.stream is None:
            return None
        groups = match.stream.groups_in(event.stream) if match.stream and template.groups else {}
        name = template.expand(event.stream, self.labels, groups or {})
        return None if name == event.stream else name


def is_same_eventgate(one: Upstream, other: Upstream) -> bool:
    """Whether two upstreams share an endpoint, whatever their names."""
    return not {url for _, url in one.endpoints}.isdisjoint(url for _, url in other.endpoints)


def fitting(matches: Sequence[Match], index: Index, event: Event) -> tuple[int, ...]:
    """Return the numbers of the matches that fit an event, regardless of labels."""
    looked = _LookedAt(event, index.all_paths)
    found = index.fitting("stream", event.stream) & index.fitting("schema", event.schema)
    found = _after_a_look(found, index, looked, known_only=False)
    return tuple(each for each in numbers(found) if not _first_event_mismatch(matches[each], event.stream, looked))


class _LookedAt:
    """The values of an event that rules compare; it is read once, and only if stream and schema do not decide."""

    def __init__(self, event: Event, paths: tuple[str, ...]) -> None:
        """`paths` are all that rules may read."""
        self.schema = event.schema
        self._event = event
        self._paths = paths
        self._values: dict[str, str] | None = None

    @property
    def inside(self) -> bool:
        """Whether it was read: then events of the same stream and schema may have other decisions."""
        return self._values is not None

    def value_at(self, path: str) -> str | None:
        """Return the scalar at `path`."""
        if self._values is None:
            self._values = self._event.values_at(self._paths)
        return self._values.get(path)


class _Rules:
    """A list of matches for one pod; the first that fits counts."""

    def __init__(self, matches: Sequence[Match], index: Index, labels: Mapping[str, str]) -> None:
        self._matches = matches
        self._index = index
        self._labels = labels
        self._of_pod = index.of_pod(labels)

    def first(self, stream: str | None, event: _LookedAt) -> int | None:
        """Return the number of the first that fits; read the event only if a candidate needs it."""
        found = self._of_pod & self._index.fitting("stream", stream) & self._index.fitting("schema", event.schema)
        for number in numbers(found):
            match = self._matches[number]
            if match.event:
                rest = found & (-1 << number)
                return self._first_of(_after_a_look(rest, self._index, event, known_only=False), stream, event)
            if _first_mismatch(match, stream, event, self._labels) is None:
                return number
        return None

    def _first_of(self, found: int, stream: str | None, event: _LookedAt) -> int | None:
        for number in numbers(found):
            if _first_mismatch(self._matches[number], stream, event, self._labels) is None:
                return number
        return None

    def first_or_lacking(self, stream: str | None, event: _LookedAt) -> tuple[int | None, str | None]:
        """Return the first that fits, and a key that an earlier one needs and the event does not have."""
        found = self._of_pod & self._index.fitting("stream", stream)
        if event.schema is not None:
            found &= self._index.fitting("schema", event.schema)
        for number in numbers(_after_a_look(found, self._index, event, known_only=True)):
            mismatch = _first_mismatch(self._matches[number], stream, event, self._labels)
            if mismatch is None:
                return number, None
            if mismatch.found is None and not mismatch.key.startswith(("labels.", "stream")):
                return None, mismatch.key
        return None, None


def _after_a_look(found: int, index: Index, event: _LookedAt, *, known_only: bool) -> int:
    """Return the candidates left after reading the event; with `known_only`, missing values exclude none."""
    for path in index.paths(found):
        value = event.value_at(path)
        if value is not None or not known_only:
            found &= index.fitting(f"event.{path}", value)
    return found


def _first_mismatch(match: Match, stream: str | None, event: _LookedAt, labels: Mapping[str, str]) -> Mismatch | None:
    return _first_label_mismatch(match, labels) or _first_event_mismatch(match, stream, event)


def _first_event_mismatch(match: Match, stream: str | None, event: _LookedAt) -> Mismatch | None:
    if match.stream is not None and _differs(match.stream, stream):
        return Mismatch("stream", str(match.stream), stream)
    if match.schema_ is not None and _differs(match.schema_, event.schema):
        return Mismatch("schema", str(match.schema_), event.schema)
    for path, pattern in match.event.items():
        value = event.value_at(path)
        if _differs(pattern, value):
            return Mismatch(f"event.{path}", str(pattern), value)
    return None


def _first_label_mismatch(match: Match, labels: Mapping[str, str]) -> Mismatch | None:
    for name, pattern in match.labels.items():
        if _differs(pattern, labels.get(name)):
            return Mismatch(f"labels.{name}", str(pattern), labels.get(name))
    return None


def _differs(pattern: Pattern, value: str | None) -> bool:
    return value is None or pattern.groups_in(value) is None


def _of(stream: str | None) -> str:
    return "an event without meta.stream" if stream is None else f"stream {stream}"
