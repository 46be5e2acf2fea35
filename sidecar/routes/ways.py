"""The table of where each stream goes from each kind of pod, for `check`, `streams` and `diff`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.events.event import Event
from sidecar.routes.index import Indexes
from sidecar.routes.language.config import Config
from sidecar.routes.routing import Router
from sidecar.routes.samples import ANY_OTHER, MAX_ROWS, Pod, events_of, examples_of, needs_not_too_many, pods_of

MAX_ALIKE = 3
"""Maximum further values of a label that are shown."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a stream's events go."""

    upstream: str | None = None
    stream: str | None = None
    """The name they are sent under."""
    topic_prefixes: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    """URLs of the upstream's endpoints."""
    depends_on: str | None = None
    """The key, such as `schema`, that an event needs before this is known."""
    copy: CopyWay | None = None
    """Where their copies go; None if there are none."""
    route: str = field(default="", compare=False)
    refusal: str | None = field(default=None, compare=False)

    @property
    def refused(self) -> bool:
        """Whether they go nowhere."""
        return self.upstream is None and self.depends_on is None

    @property
    def topics(self) -> tuple[str, ...]:
        """Their Kafka topics, as far as the configuration says."""
        return tuple(f"{prefix}{self.stream}" for prefix in self.topic_prefixes)


@dataclass(frozen=True, slots=True)
class CopyWay(Way):
    """Where copies of a stream's events go."""

    percent: int = 100

    def in_words(self, came_as: str) -> str:
        """Return where copies of the stream `came_as` go, as text."""
        share = f"{self.percent} % copied" if self.percent < 100 else "copied"
        return f"{share} to {self.upstream}{'' if self.stream == came_as else f' as {self.stream}'}"


@dataclass(frozen=True, slots=True)
class Row:
    """One stream from one kind of pod."""

    pod: Pod
    event: Event
    way: Way

    @property
    def stream(self) -> str:
        """Its original name."""
        return self.event.stream or ""


def way_of(router: Router, event: Event) -> Way:
    """Return the way of `event`, or the key that is missing to know it."""
    decision, lacking = router.decide(event), router.lacks(event)
    if lacking is not None:
        return Way(depends_on=lacking, route=decision.route)
    if decision.upstream is None:
        return Way(route=decision.route, refusal=decision.refusal)
    copy = decision.copy if decision.copy and not decision.copy.refusal else None
    return Way(
        *_place(decision.upstream, decision.stream or event.stream, router.config),
        copy=CopyWay(*_place(copy.upstream, copy.stream, router.config), percent=copy.percent) if copy else None,
        route=decision.route,
    )


def _place(name: str, stream: str | None, config: Config) -> tuple[str, str | None, tuple[str, ...], tuple[str, ...]]:
    upstream = config.upstreams[name]
    return name, stream, tuple(upstream.topic_prefixes), tuple(url for _, url in upstream.endpoints)


def matrix(config: Config) -> list[Row]:
    """Return a row for each kind of pod and each stream that `config` names.

    A glob or regular expression that none of them fits is represented by an example.

    Raises:
        SettingError: there are too many.

    """
    events = events_of([config])
    examples = [event for event, _ in examples_of([config], events)]
    known = {ANY_OTHER, *(event.stream for event in events)} if events else set()
    return rows(config, pods_of([config]), [*events, *(each for each in examples if each.stream not in known)])


def rows(config: Config, pods: Sequence[Pod], events: Sequence[Event]) -> list[Row]:
    """Return a row for each of `pods` and each of `events`; rows with the same stream and way are one.

    Raises:
        SettingError: there are too many.

    """
    needs_not_too_many(pods, events, MAX_ROWS)
    found: dict[tuple[int, str | None, Way], Row] = {}
    indexes = Indexes(config)
    for index, pod in enumerate(pods):
        router = Router(config, pod, indexes)
        for event in events:
            way = way_of(router, event)
            found.setdefault((index, event.stream, way), Row(pod, event, way))
    return list(found.values())


def row_as_data(row: Row) -> dict[str, Any]:
    """Return a row of the matrix for a program."""
    return {
        "labels": dict(row.pod),
        "alike": {name: list(values) for name, values in row.pod.alike.items()},
        "stream": row.stream,
        "schema": row.event.schema,
        "route": row.way.route or None,
        **way_as_data(row.way),
    }


def way_as_data(way: Way) -> dict[str, Any]:
    """Return the way of a stream for a program."""
    copy = way.copy
    return {
        "upstream": way.upstream,
        "sent_as": way.stream,
        "topics": list(way.topics),
        "refused": way.refusal,
        "depends_on": way.depends_on,
        "copy": copy
        and {
            "upstream": copy.upstream,
            "sent_as": copy.stream,
            "percent": copy.percent,
            "topics": list(copy.topics),
        },
    }


def pod_in_words(pod: Pod) -> str:
    """Return a pod's labels as the heading of a table."""
    words = (f"{name}={value}{_or_others(pod.alike.get(name, ()))}" for name, value in pod.items())
    return " ".join(words) or "no labels"


def _or_others(values: Sequence[str]) -> str:
    if not values:
        return ""
    more = f" and {len(values) - MAX_ALIKE} more" if len(values) > MAX_ALIKE else ""
    return f" (or {', '.join(values[:MAX_ALIKE])}{more})"
