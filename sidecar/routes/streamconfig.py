"""Compares a `routes.yaml` with the streams that Wikimedia declares: `check --stream-config`.

EventGate takes an event only if its stream is declared, and only with a schema of the declared title. The declarations
are MediaWiki's answer to `action=streamconfigs&all_settings=true`: settings by the name of a stream, or by a regular
expression for names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from sidecar.errors import SettingError
from sidecar.events.event import Event
from sidecar.routes.index import Indexes
from sidecar.routes.language.config import Config, Route
from sidecar.routes.language.pattern import Literal, Matcher, Pattern, Regex
from sidecar.routes.language.section import Complaint, Path, nearest
from sidecar.routes.routing import Decision, Router
from sidecar.routes.samples import events_of, pods_of


class Declaration(msgspec.Struct, frozen=True):
    """The declaration of a stream, as far as it matters here."""

    schema_title: str | None = None
    """Title of the schemas that its events may have, such as `mediawiki/revision/score`."""
    destination_event_service: str | None = None
    """The EventGate that takes it, such as `eventgate-main`."""
    topics: tuple[str, ...] = ()
    """Its topics in Kafka, or a regular expression for them."""


class _Failure(msgspec.Struct):
    code: str = ""
    info: str = ""


class _Answer(msgspec.Struct):
    streams: dict[str, Declaration] | None = None
    error: _Failure | None = None


class StreamConfig:
    """All declarations."""

    def __init__(self, declarations: Mapping[str, Declaration], source: str) -> None:
        """`source` is their name in messages: a file or a URL."""
        self.source = source
        self.declarations = declarations
        self._patterns = [(pattern, each) for name, each in declarations.items() if (pattern := _pattern_of(name))]

    def of(self, stream: str) -> Declaration | None:
        """Return the declaration of a stream; None if there is none."""
        found = self.declarations.get(stream)
        return found or next((each for pattern, each in self._patterns if pattern.groups_in(stream) is not None), None)

    def fault_of(self, stream: str, schema: str | None) -> str | None:
        """Return why EventGate does not take events of a stream with this schema; None if it may."""
        declared = self.of(stream)
        if declared is None:
            return f"it is not declared in {self.source}{nearest(stream, self.declarations)}"
        if schema is not None and declared.schema_title not in (None, title_of(schema)):
            return f"it is declared with the schema {declared.schema_title}, and the event has {schema}"
        return None

    def other_service(self, stream: str, event_service: str | None) -> str | None:
        """Return the EventGate that a stream is declared for; None if it is `event_service`, or unknown."""
        declared = self.of(stream)
        service = declared.destination_event_service if declared else None
        return service if event_service is not None and service != event_service else None


def read(answer: bytes, source: str) -> StreamConfig:
    """Read MediaWiki's answer.

    Raises:
        SettingError: it is not such an answer, or has no streams, or not the needed settings.

    """
    try:
        found = msgspec.json.decode(answer, type=_Answer)
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{source} is not an answer to action=streamconfigs: {error}") from None
    if found.error is not None:
        raise SettingError(f"{source} is an error of MediaWiki: {found.error.info or found.error.code}")
    if not found.streams:
        raise SettingError(f'{source} is not an answer to action=streamconfigs: it has no "streams"')
    if all(each.schema_title is None for each in found.streams.values()):
        raise SettingError(f"{source} has no schema_title; ask for action=streamconfigs&all_settings=true")
    return StreamConfig(found.streams, source)


def title_of(schema: str) -> str:
    """Return the title of a `$schema`: `/mediawiki/revision/score/3.0.0` has `mediawiki/revision/score`."""
    return schema.strip("/").rpartition("/")[0]


def _pattern_of(name: str) -> Pattern | None:
    """Return the regular expression in a declaration's name; None if it is a plain name, or invalid."""
    try:
        return Pattern.parse(name) if name.startswith("/") else None
    except ValueError:
        return None


# --- comparison with a file ---


def mistakes(config: Config, declared: StreamConfig) -> Iterator[Complaint]:
    """Yield each stream that a route sends or copies to an EventGate that would not take it."""
    routes = {route.name: (index, route) for index, route in enumerate(config.routes)}
    told: set[Complaint] = set()
    astray: dict[tuple[Path, str, str, str], dict[str, None]] = {}
    """Streams that go to the wrong EventGate, by place, upstream, its event service, and the right one."""
    for event, decision in _decisions(config):
        index, route = routes[decision.route]
        for place, upstream, stream in _destinations(route, event, decision):
            where, service = ("routes", index, *place), config.upstreams[upstream].event_service
            if words := declared.fault_of(stream, event.schema):
                complaint = where, f"sends {stream} to {upstream}, but {words}"
                if complaint not in told:
                    told.add(complaint)
                    yield complaint
            elif right := declared.other_service(stream, service):
                astray.setdefault((where, upstream, service or "", right), {})[stream] = None
    for (where, upstream, service, right), streams in astray.items():
        more, they = (f" and {len(streams) - 1} more", "they are") if len(streams) > 1 else ("", "it is")
        what = f"sends {next(iter(streams))}{more} to {upstream}, whose event_service is {service}"
        yield where, f"{what}, but {they} declared for {right}"


def warnings(config: Config, declared: StreamConfig) -> Iterator[Complaint]:
    """Yield each pattern for the stream of a route's events that no declared stream matches."""
    for index, route in enumerate(config.routes):
        for matcher in route.match.stream.matchers if route.to and route.match.stream else ():
            if isinstance(matcher, Literal) and route.stream is None:
                continue  # it is sent under that name, so it is a mistake
            text = _as_written(matcher)
            names = declared.declarations
            if text in names or declared.of(text) or any(matcher.groups_in(name) is not None for name in names):
                continue
            where = ("routes", index, "match", "stream")
            yield where, f"has {text}, which no stream in {declared.source} matches{nearest(text, names)}"


def _as_written(matcher: Matcher) -> str:
    return f"/{matcher.source}/" if isinstance(matcher, Regex) else matcher.source


def _decisions(config: Config) -> Iterator[tuple[Event, Decision]]:
    """Yield each event that the file names with its decision, for each kind of pod that sends it."""
    events, indexes = events_of([config]), Indexes(config)
    for labels in pods_of([config]):
        router = Router(config, labels, indexes)
        for event in events:
            decision = router.decide(event)
            if decision.upstream is not None and router.lacks(event) is None:
                yield event, decision


def _destinations(route: Route, event: Event, decision: Decision) -> Iterator[tuple[Path, str, str]]:
    """Yield key, upstream and stream of an event, and of its copy."""
    if decision.upstream is not None:
        named = route.match.stream is not None and event.stream in route.match.stream.literals
        place: Path = ("stream",) if route.stream is not None else ("match", "stream") if named else ()
        yield place, decision.upstream, decision.stream or event.stream or ""
    if decision.copy is not None and decision.copy.refusal is None:
        yield ("mirror",), decision.copy.upstream, decision.copy.stream
