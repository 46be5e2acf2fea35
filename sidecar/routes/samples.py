"""The streams and pods that a configuration names: what can be asked about it without a real event.

Streams are those that routes, `accepts` and tests spell out; a pod is a set of labels that they tell apart. A glob or
a regular expression names no stream.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from sidecar.errors import RequestError
from sidecar.events.event import Event, parse
from sidecar.routes.config import Config
from sidecar.routes.pattern import Glob, Pattern
from sidecar.routes.routing import matches_of

MAX_PODS = 64
"""Sets of labels that are tried; of a configuration with more, only those of its tests are."""

Labels = Mapping[str, str]


def streams_named_by(config: Config) -> list[str]:
    """Return the streams that a configuration spells out: those of tests, routes and `accepts`, in this order."""
    named = [event.stream for event in _tested_events(config) if event.stream]
    for route in config.routes:
        named += route.match.stream.literals if route.match.stream else ()
        if route.stream and not route.stream.placeholders:
            named.append(route.stream.source)
    for upstream in config.upstreams.values():
        named += [name for entry in upstream.accepts or () if entry.stream for name in entry.stream.literals]
    return list(dict.fromkeys(named))


def events_of(configs: Sequence[Config], more: Iterable[Event] = ()) -> list[Event]:
    """Return an event of each stream that these configurations name, as their tests have it, and `more`.

    Of one stream there are several where they differ in what a route looks at.
    """
    paths = sorted({path for config in configs for match in matches_of(config) for path in match.event})
    tested = [event for config in configs for event in _tested_events(config)]
    found: dict[tuple[str | None, ...], Event] = {}
    for event in [*more, *tested]:
        found.setdefault((event.stream, event.schema, *(event.value_at(path) for path in paths)), event)
    seen = {event.stream for event in found.values()}
    bare = [event_of(name) for config in configs for name in streams_named_by(config) if name not in seen]
    return [*found.values(), *{event.stream: event for event in bare}.values()]


def event_of(stream: str, schema: str | None = None) -> Event:
    """Return an event with only the name of its stream, and its schema."""
    value = {"$schema": schema} if schema else {}
    return parse(msgspec.json.encode({**value, "meta": {"stream": stream}}))[0]


def pods_of(configs: Sequence[Config]) -> list[Labels]:
    """Return every set of labels that these configurations may tell apart."""
    values: dict[str, list[str]] = {}
    for name, patterns in _patterns_of_labels(configs):
        known = [test.labels[name] for config in configs for test in config.tests if name in test.labels]
        known += [literal for pattern in patterns for literal in pattern.literals]
        known += [text for pattern in patterns for text in _stand_ins(pattern, known)]
        values[name] = list(dict.fromkeys(known)) or [name]
    combinations = itertools.product(*([*each, None] for each in values.values()))
    pods = list(itertools.islice(combinations, MAX_PODS + 1))
    if len(pods) <= MAX_PODS:
        return [_without_none(dict(zip(values, pod, strict=True))) for pod in pods]
    tested = [{n: v for n, v in test.labels.items() if n in values} for config in configs for test in config.tests]
    distinct: list[Labels] = [dict(pod) for pod in dict.fromkeys(tuple(each.items()) for each in tested)]
    return distinct[:MAX_PODS]


def _without_none(pod: Mapping[str, str | None]) -> Labels:
    return {name: value for name, value in pod.items() if value is not None}


def _patterns_of_labels(configs: Sequence[Config]) -> Iterator[tuple[str, list[Pattern]]]:
    """Yield each label that a route or an `accepts` looks at or takes words from, with its patterns."""
    patterns: dict[str, list[Pattern]] = {}
    for config in configs:
        for match in matches_of(config):
            for name, pattern in match.labels.items():
                patterns.setdefault(name, []).append(pattern)
        for route in config.routes:
            for template in (route.stream, route.mirror.stream if route.mirror else None):
                for name in sorted(template.labels) if template else ():
                    patterns.setdefault(name, [])
    yield from patterns.items()


def _stand_ins(pattern: Pattern, known: Sequence[str]) -> Iterator[str]:
    """Yield a matching text for each glob that no known text matches."""
    for matcher in pattern.matchers:
        if isinstance(matcher, Glob) and not any(matcher.groups_in(text) is not None for text in known):
            text = matcher.source.replace("*", "x").replace("?", "x")
            if matcher.groups_in(text) is not None:
                yield text


def _tested_events(config: Config) -> Iterator[Event]:
    for test in config.tests:
        try:
            yield parse(msgspec.json.encode(test.event))[0]
        except (RequestError, TypeError, ValueError):
            continue  # `check` says so of the test
