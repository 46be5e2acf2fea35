"""The streams and pods that a configuration names, to evaluate it without real events.

Streams are those that routes, `accepts` and tests spell out; a pod is a set of labels that they distinguish. A glob or
a regular expression names no stream, but `diff` uses an example of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sidecar.errors import RequestError, SettingError
from sidecar.events.event import Event, parse
from sidecar.routes.index import Index, matches_of, numbers, templates_of
from sidecar.routes.language.config import Config, Match
from sidecar.routes.language.pattern import Pattern
from sidecar.routes.routing import fitting
from sidecar.routes.texts import examples

MAX_PODS = 2500
"""Maximum kinds of pods."""
MAX_WAYS = 250_000
"""Maximum of events times pods in a comparison, which takes some seconds."""
MAX_ROWS = 20_000
"""Maximum of events times pods in a table."""

ANY_OTHER = "any-other-stream"
"""The stream of an example for a match without one."""

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

    A stream has several if they differ in a value that a route reads.
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


def examples_of(configs: Sequence[Config], events: Sequence[Event]) -> list[tuple[Event, str]]:
    """Return an example event for each match that fits none of `events`, with its patterns.

    Of several that fit the same matches, only one.
    """
    distinct: dict[tuple[tuple[str, Pattern], ...], Match] = {}
    for match in (each for config in configs for each in matches_of(config)):
        distinct.setdefault(tuple(pair for pair in match.patterns.items() if not pair[0].startswith("labels.")), match)
    distinct.setdefault((), Match())
    matches = list(distinct.values())
    index = Index(matches)
    known = {fitting(matches, index, event) for event in events}
    found = []
    for patterns, match in distinct.items():
        for event in _examples(match):
            fit = fitting(matches, index, event)
            if fit not in known:
                known.add(fit)
                words = " and ".join(f"{key} {pattern}" for key, pattern in patterns)
                found.append((event, words or "any other stream"))
    return found


def without_example(configs: Sequence[Config], pods: Iterable[Pod], events: Iterable[Event]) -> list[str]:
    """Return the patterns of labels and streams without a known or an example text."""
    texts: dict[str, set[str]] = {"stream": {event.stream for event in events if event.stream}}
    for pod in pods:
        for name, value in pod.items():
            texts.setdefault(f"labels.{name}", set()).add(value)
    missed: dict[str, None] = {}
    for key, pattern in (pair for config in configs for match in matches_of(config) for pair in match.patterns.items()):
        for each in pattern.alternatives:
            if not (examples(each.matchers[0]) or any(each.groups_in(text) is not None for text in texts.get(key, ()))):
                missed[f"{key} {each}"] = None
    return list(missed)


def _examples(match: Match) -> Iterator[Event]:
    """Yield an event for each alternative of its stream that fits its other keys, too."""
    rest = {path: next(_texts(pattern), "") for path, pattern in match.event.items()}
    schema = next(_texts(match.schema_), "") if match.schema_ else ""
    for stream in _texts(match.stream) if match.stream else (ANY_OTHER,):
        value: dict[str, Any] = {"$schema": schema} if schema else {}
        for path, text in {**rest, "meta.stream": stream}.items():
            *above, last = path.split(".")
            inner = value
            for key in above:
                inner = inner.setdefault(key, {})
                if not isinstance(inner, dict):
                    break
            else:
                inner[last] = text
        yield parse(msgspec.json.encode(value))[0]


def _texts(pattern: Pattern) -> Iterator[str]:
    return (text for matcher in pattern.matchers for text in examples(matcher))


def needs_not_too_many(pods: Sequence[Pod], events: Sequence[Event], most: int = MAX_WAYS) -> None:
    """Refuse a comparison that would take minutes, or a table that is too long.

    Raises:
        SettingError: there are more than `most` combinations.

    """
    if len(pods) * len(events) > most:
        raise SettingError(f"{len(events)} events from {len(pods)} kinds of pods are too many")


class Pod(dict[str, str]):
    """The labels of a pod; `alike` has further values of each that all rules treat the same."""

    def __init__(self, labels: Labels, alike: Mapping[str, Sequence[str]]) -> None:
        """`alike` has only labels with such values."""
        super().__init__(labels)
        self.alike = dict(alike)

    def with_one_of(self, label: str, values: Sequence[str]) -> Pod:
        """Return a pod with one more label, which has the first of these values."""
        rest = {label: values[1:]} if len(values) > 1 else {}
        return Pod({**self, label: values[0]}, {**self.alike, **rest})


def pods_of(configs: Sequence[Config]) -> list[Pod]:
    """Return a pod of each kind that these configurations distinguish: the one with the fewest labels.

    Raises:
        SettingError: there are over `MAX_PODS` kinds.

    """
    matches = [match for config in configs for match in matches_of(config)]
    index = Index(matches)
    in_names = {
        name for config in configs for route in config.routes for each in templates_of(route) for name in each.labels
    }
    kinds: dict[tuple[int, tuple[str | None, ...]], Pod] = {(-1, ()): Pod({}, {})}
    for name, known in _values_of_labels(configs, in_names).items():
        values: dict[tuple[int, str | None], list[str]] = {}
        for value in known:
            fit = _fitting_label(index, matches, name, value)
            values.setdefault((fit, value if name in in_names else None), []).append(value)
        without = _fitting_label(index, matches, name, None)
        found: dict[tuple[int, tuple[str | None, ...]], Pod] = {}
        for (before, words), pod in kinds.items():
            for (fit, word), alike in values.items():
                found.setdefault((before & fit, (*words, word)), pod.with_one_of(name, alike))
            key = before & without, (*words, None)
            found.pop(key, None)
            found[key] = pod
        if len(found) > MAX_PODS:
            raise SettingError(f"the labels in the rules distinguish over {MAX_PODS} kinds of pods, too many")
        kinds = found
    return list(kinds.values())


def _fitting_label(index: Index, matches: Sequence[Match], name: str, value: str | None) -> int:
    """Return the set of matches that may fit a pod with this value of a label; None: without the label."""
    found = index.fitting(f"labels.{name}", value)
    for number in numbers(found):
        pattern = matches[number].labels.get(name)
        if pattern is not None and (value is None or pattern.groups_in(value) is None):
            found ^= 1 << number
    return found


def _values_of_labels(configs: Sequence[Config], in_names: Iterable[str]) -> dict[str, list[str]]:
    """Return each label that a rule matches or a template uses, with all known and example values."""
    patterns: dict[str, list[Pattern]] = {}
    for config in configs:
        for match in matches_of(config):
            for name, pattern in match.labels.items():
                patterns.setdefault(name, []).append(pattern)
    for name in sorted(in_names):
        patterns.setdefault(name, [])
    tested = [pair for config in configs for test in config.tests for pair in test.labels.items()]
    values: dict[str, list[str]] = {}
    for name, of_name in patterns.items():
        known = dict.fromkeys(value for label, value in tested if label == name)
        known |= dict.fromkeys(text for pattern in of_name for text in pattern.literals)
        known |= dict.fromkeys(text for pattern in of_name for text in _texts(pattern))
        values[name] = list(known) or [name]
    return values


def _tested_events(config: Config) -> Iterator[Event]:
    for test in config.tests:
        try:
            yield parse(msgspec.json.encode(test.event))[0]
        except (RequestError, TypeError, ValueError):
            continue  # `check` reports it
