"""What `explain` shows: the way of one event through the routes, as data and as text."""

from __future__ import annotations

from typing import TypedDict

from sidecar.event import Event
from sidecar.routing import Router, Step


class RouteLine(TypedDict):
    """One route looked at."""

    route: str
    matched: bool
    because: str


class Explanation(TypedDict):
    """The whole way of one event."""

    stream: str | None
    labels: dict[str, str]
    routes: list[RouteLine]
    refused: str | None
    upstream: str | None
    sent_as: str | None
    endpoints: list[str]


def explanation(router: Router, event: Event) -> Explanation:
    """Return which route takes `event`, why each earlier one does not, and where it goes."""
    steps, decision = router.explain(event)
    upstream = router.config.upstreams.get(decision.upstream) if decision.upstream else None
    return Explanation(
        stream=event.stream,
        labels=dict(router.labels),
        routes=[_line(step) for step in steps],
        refused=decision.refusal,
        upstream=decision.upstream,
        sent_as=(decision.stream or event.stream) if decision.upstream else None,
        endpoints=[url for _, url in upstream.endpoints] if upstream else [],
    )


def in_text(found: Explanation) -> str:
    """Return an explanation as lines for a terminal."""
    labels = " ".join(f"{name}={value}" for name, value in found["labels"].items())
    lines = [f"event of stream {found['stream'] or '(none)'}, labels {labels or '(none)'}"]
    lines += [f"  {'✓' if each['matched'] else '·'} {each['route']}: {each['because']}" for each in found["routes"]]
    if found["refused"]:
        lines.append(f"refused: {found['refused']}")
    else:
        renamed = " (renamed)" if found["sent_as"] != found["stream"] else ""
        name = f"as {found['sent_as']}{renamed}" if found["sent_as"] else "as it is, without a stream"
        lines.append(f"sent to {found['upstream']} {name}")
        lines += [f"  {url}" for url in found["endpoints"]]
    return "\n".join(lines) + "\n"


def _line(step: Step) -> RouteLine:
    because = "matches" if step.mismatch is None else str(step.mismatch)
    return RouteLine(route=step.route.name, matched=step.mismatch is None, because=because)
