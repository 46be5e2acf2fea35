"""The explanation of where an event goes, for the command `explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from sidecar.events.event import Event
from sidecar.events.outgoing import Copy
from sidecar.routes.language.config import Match
from sidecar.routes.routing import Arrival, Mismatch, Router, Step


class Line(TypedDict):
    """The result of one route, or of one entry of `accepts`."""

    name: str
    matched: bool
    because: str
    """The values that matched, or the first that did not."""


class Copied(TypedDict):
    """The copy for the route's `mirror`."""

    upstream: str
    sent_as: str
    percent: int
    refused: str | None
    """Why no copy is sent; None if one is."""
    topics: list[str]


class Explanation(TypedDict):
    """The explanation for one event."""

    stream: str | None
    schema: str | None
    labels: dict[str, str]
    routes: list[Line]
    refused: str | None
    upstream: str | None
    sent_as: str | None
    accepts: list[Line]
    """Entries of the route's upstream, up to the one that accepts the event; empty if it accepts everything."""
    topics: list[str]
    endpoints: list[str]
    copy: Copied | None
    """None if its route has no mirror, or refuses it."""


class Tried(TypedDict):
    """An address of the upstream, with its state in a running sidecar."""

    endpoint: str
    address: str
    state: str
    place: int | None
    """Its rank: 1 gets the next event, None gets none."""


def explanation(router: Router, event: Event) -> Explanation:
    """Return which route takes `event`, why each earlier one does not, and where it goes."""
    steps, decision = router.explain(event)
    upstream = router.config.upstreams.get(decision.upstream) if decision.upstream else None
    sent_as = (decision.stream or event.stream) if upstream else None
    arrival = router.arrival(event)
    return Explanation(
        stream=event.stream,
        schema=event.schema,
        labels=dict(router.labels),
        routes=[_route_line(step, router, event) for step in steps],
        refused=decision.refusal,
        upstream=decision.upstream,
        sent_as=sent_as,
        accepts=list(_accepts(arrival, router, event)) if arrival else [],
        topics=[f"{prefix}{sent_as}" for prefix in upstream.topic_prefixes] if upstream and sent_as else [],
        endpoints=[url for _, url in upstream.endpoints] if upstream else [],
        copy=_copied(decision.copy, router) if decision.copy else None,
    )


def _copied(copy: Copy, router: Router) -> Copied:
    prefixes = router.config.upstreams[copy.upstream].topic_prefixes
    topics = [] if copy.refusal else [f"{prefix}{copy.stream}" for prefix in prefixes]
    return Copied(
        upstream=copy.upstream, sent_as=copy.stream, percent=copy.percent, refused=copy.refusal, topics=topics
    )


def _route_line(step: Step, router: Router, event: Event) -> Line:
    return _line(step.route.name, step.route.match, step.mismatch, event.stream, router, event)


def _accepts(arrival: Arrival, router: Router, event: Event) -> Iterator[Line]:
    entries = router.config.upstreams[arrival.upstream].accepts or ()
    for index, (entry, mismatch) in enumerate(zip(entries, arrival.acceptance, strict=False)):
        yield _line(f"{arrival.upstream}.accepts[{index}]", entry, mismatch, arrival.stream, router, event)


def _line(name: str, match: Match, mismatch: Mismatch | None, stream: str | None, router: Router, event: Event) -> Line:
    if mismatch is not None:
        return Line(name=name, matched=False, because=str(mismatch))
    values = ", ".join(f"{key} is {value}" for key, value in _values(match, stream, router, event))
    return Line(name=name, matched=True, because=values or "takes everything")


def _values(match: Match, stream: str | None, router: Router, event: Event) -> Iterator[tuple[str, str | None]]:
    """Yield each key of `match` with the matching value."""
    for label in match.labels:
        yield f"labels.{label}", router.labels[label]
    if match.stream is not None:
        yield "stream", stream
    if match.schema_ is not None:
        yield "schema", event.schema
    for path in match.event:
        yield f"event.{path}", event.value_at(path)
