"""Lays out the picture of the last minute: streams → routes → upstreams → datacenters, link widths by events.

Refused, spooled and failed events branch off. page.html.j2 draws it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.events.results import Outcome
from sidecar.status.value import EndpointNow, RouteNow, Status, UpstreamNow, title_of
from sidecar.upstreams.health import OUT

MAX_NODES = 8
"""Maximum streams and maximum routes drawn; the rest is one node."""
LINE, PADDING, GAP = 15.0, 9.0, 12.0
ALL_WIDE, LEAST_WIDE = 44.0, 1.5
"""The width of a link with all events, and of the narrowest one."""
SYMBOLS = {"healthy": "●", "suspected": "◐", "probation": "◐", "unknown": "○"}
"""For readers who do not see colours; ✕ is for any other health."""

_Key = tuple[str, str]
"""The kind of a node, and its name."""


class Column(NamedTuple):
    """The position and width of a column's nodes, and the characters in a line of one."""

    x: float
    width: float
    characters: int


WIDE = (Column(0, 232, 29), Column(322, 200, 25), Column(612, 138, 16), Column(840, 200, 24))
NARROW = (Column(0, 0, 0), Column(0, 106, 13), Column(128, 82, 10), Column(232, 128, 16))
"""For a phone, without the streams, which are in a table below."""


class Node(NamedTuple):
    """A box."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]
    """Its name."""
    note: str
    """The last line."""
    words: str


class Link(NamedTuple):
    """A curve between two boxes; its width is 0 without events."""

    kind: str
    x1: float
    y1: float
    x2: float
    y2: float
    width: float
    words: str

    @property
    def middle(self) -> float:
        """Where it bends."""
        return round((self.x1 + self.x2) / 2, 1)


class Picture(NamedTuple):
    """The whole picture; `words` describe it."""

    width: float
    height: float
    nodes: list[Node]
    links: list[Link]
    words: str


@dataclass
class _Box:
    """A node before it is placed."""

    column: int
    name: str
    kind: str = ""
    note: str = ""
    y: float = 0.0
    height: float = 0.0
    lines: tuple[str, ...] = ()


@dataclass
class _Graph:
    """The nodes and links, in order of insertion."""

    boxes: dict[_Key, _Box] = field(default_factory=dict)
    links: Counter[tuple[_Key, _Key]] = field(default_factory=Counter)
    kinds: dict[tuple[_Key, _Key], str] = field(default_factory=dict)

    def link(self, source: _Key, target: _Key, events: int, kind: str = "") -> None:
        self.links[source, target] += events
        self.kinds.setdefault((source, target), kind)

    def through(self, key: _Key) -> int:
        """Return how many events enter a node, or leave it if none enter."""
        into = sum(events for (_, target), events in self.links.items() if target == key)
        return into or sum(events for (source, _), events in self.links.items() if source == key)


def flow_of(status: Status, columns: Sequence[Column] = WIDE) -> Picture:
    """Lay out the picture."""
    graph = _graph(status)
    if not columns[0].width:
        graph.links = Counter({ends: events for ends, events in graph.links.items() if ends[0][0] != "stream"})
        graph.boxes = {key: box for key, box in graph.boxes.items() if box.column}
    height = _place(graph, columns)
    nodes = [
        Node(
            box.kind,
            *(columns[box.column].x, box.y, columns[box.column].width, box.height),
            box.lines,
            _fitted(box.note, columns[box.column].characters + 1),
            f"{box.name}: {box.note}",
        )
        for box in graph.boxes.values()
    ]
    return Picture(columns[-1].x + columns[-1].width, height, nodes, _links(graph, columns), _words(graph))


def _graph(status: Status) -> _Graph:
    graph = _Graph()
    places = {route.name: route.to for route in status.routes}
    _add_streams_and_routes(graph, status, places)
    beyond: dict[str, Counter[str]] = {}
    refused = 0
    for flow in status.flows:
        refused += flow.outcomes.get(Outcome.REFUSED, 0)
        to = places.get(flow.route or "")
        if to:
            beyond.setdefault(to, Counter()).update(flow.outcomes)
    for upstream in status.upstreams:
        if upstream.used or upstream.name in beyond:
            _add_upstream(graph, upstream, beyond.get(upstream.name, Counter()))
            if not status.flows:
                graph.boxes["route", ""] = _Box(1, "no events")
                graph.link(("route", ""), ("upstream", upstream.name), 0)
    for route in status.routes:
        _add_copies(graph, route)
    if refused:
        graph.boxes["end", Outcome.REFUSED] = _Box(2, "refused", "warning")
    waiting = f" · {status.spool.events} wait" if status.spool else ""
    for key, box in graph.boxes.items():
        box.note = box.note or _per_minute(graph.through(key))
        if key == ("end", Outcome.SPOOLED):
            box.note += waiting
    return graph


def _add_streams_and_routes(graph: _Graph, status: Status, places: Mapping[str, str | None]) -> None:
    """Add the busiest streams and routes, in order of the routes, and their links; `places`: where a route leads."""
    by_stream, by_route = Counter[str](), Counter[str | None]()
    for flow in status.flows:
        by_stream[flow.stream] += sum(flow.outcomes.values())
        by_route[flow.route] += sum(flow.outcomes.values())
    streams, routes = _busiest(by_stream), _busiest(by_route)
    order = {route.name: place for place, route in enumerate(status.routes)}
    flows = sorted(status.flows, key=lambda each: (order.get(each.route or "", len(order)), each.stream))
    ends = [
        (
            flow,
            ("stream", flow.stream if flow.stream in streams else ""),
            ("route", (flow.route or "") if flow.route in routes else "more"),
        )
        for flow in flows
    ]
    for _, stream, _ in sorted(ends, key=lambda each: not each[1][1]):  # the rest comes last
        name = title_of(stream[1]) if stream[1] else f"{len(by_stream) - len(streams)} more streams"
        graph.boxes.setdefault(stream, _Box(0, name))
    for flow, stream, route in ends:
        more = f"{len(by_route) - len(routes)} more routes"
        name = more if flow.route not in routes else flow.route or "no route"
        graph.boxes.setdefault(route, _Box(1, name, "" if flow.route else "warning"))
        events, refused = sum(flow.outcomes.values()), flow.outcomes.get(Outcome.REFUSED, 0)
        graph.link(stream, route, events)
        to = places.get(flow.route or "")
        if to and events > refused:
            graph.link(route, ("upstream", to), events - refused)
        if refused:
            graph.link(route, ("end", Outcome.REFUSED), refused, "spooled")


def _add_upstream(graph: _Graph, upstream: UpstreamNow, outcomes: Counter[str]) -> None:
    """Add an upstream with its datacenters, and the events that branch off before them."""
    this = ("upstream", upstream.name)
    graph.boxes[this] = _Box(2, upstream.name, "bad" if upstream.out else "")
    for endpoint in upstream.endpoints:
        that, (kind, words) = (f"endpoint of {upstream.name}", endpoint.name), _state(endpoint)
        graph.boxes[that] = _Box(3, endpoint.name, kind, words)
        graph.link(this, that, endpoint.last_minute if endpoint.usable else 0, "" if endpoint.usable else "down")
    for outcome, kind in ((Outcome.SPOOLED, "warning"), (Outcome.FAILED, "bad")):
        if outcomes[outcome]:
            name = "spool" if outcome is Outcome.SPOOLED else "failed"
            box = graph.boxes.pop(("end", outcome), None) or _Box(3, name, kind)
            graph.boxes["end", outcome] = box  # below all datacenters
            graph.link(this, ("end", outcome), outcomes[outcome], "spooled" if kind == "warning" else "down")


def _add_copies(graph: _Graph, route: RouteNow) -> None:
    """Add the way of its mirror, if both ends are drawn."""
    this, that = ("route", route.name), ("upstream", route.mirror.to if route.mirror else "")
    if this in graph.boxes and that in graph.boxes:
        graph.link(this, that, 0, "copies")


def _busiest(counts: Counter[str] | Counter[str | None]) -> set[str | None]:
    """Return the names to draw: all if there are few, else one less than the maximum, to leave room for the rest."""
    return {name for name, _ in counts.most_common(MAX_NODES if len(counts) <= MAX_NODES else MAX_NODES - 1)}


def _state(endpoint: EndpointNow) -> tuple[str, str]:
    if not endpoint.usable:
        return "bad", f"✕ {endpoint.why.rpartition(': ')[2]}"
    health = next(each.health for each in endpoint.addresses if each.health not in OUT)
    rate = f" · {_per_minute(endpoint.last_minute)}" if endpoint.last_minute else ""
    return "well" if health == "healthy" else "warning", f"{SYMBOLS.get(health, '✕')} {health}{rate}"


def _place(graph: _Graph, columns: Sequence[Column]) -> float:
    """Set the size and position of all boxes; return the total height."""
    total = _total(graph)
    for key, box in graph.boxes.items():
        box.lines = lines_of(box.name, columns[box.column].characters)
        for side in (0, 1):
            wide = sum(_wide(events, total) for ends, events in graph.links.items() if ends[side] == key)
            box.height = max(box.height, (len(box.lines) + 1) * LINE + PADDING, wide + PADDING)
    stacks = [[box for box in graph.boxes.values() if box.column == number] for number in range(len(columns))]
    heights = [sum(box.height + GAP for box in stack) - GAP for stack in stacks]
    for stack, height in zip(stacks, heights, strict=True):
        y = (max(heights) - height) / 2
        for box in stack:
            box.y, y = round(y, 1), y + box.height + GAP
            box.height = round(box.height, 1)
    return round(max(*heights, 0.0), 1)


def _links(graph: _Graph, columns: Sequence[Column]) -> list[Link]:
    """Draw the links, sorted at both ends so that few cross."""
    total, boxes = _total(graph), graph.boxes
    places: dict[tuple[tuple[_Key, _Key], int], float] = {}
    for key, box in boxes.items():
        for side in (0, 1):
            here = [ends for ends in graph.links if ends[side] == key]
            here.sort(key=lambda ends: boxes[ends[1 - side]].y)
            y = box.y + (box.height - sum(_wide(graph.links[ends], total) for ends in here)) / 2
            for ends in here:
                wide = _wide(graph.links[ends], total)
                places[ends, side] = round(y + wide / 2, 1)
                y += wide
    return [
        Link(
            graph.kinds[ends] or "flow",
            *(columns[boxes[ends[0]].column].x + columns[boxes[ends[0]].column].width, places[ends, 0]),
            *(columns[boxes[ends[1]].column].x, places[ends, 1]),
            round(_wide(events, total), 1) if events else 0,
            f"{boxes[ends[0]].name} → {boxes[ends[1]].name}: "
            f"{'copies' if graph.kinds[ends] == 'copies' else _per_minute(events)}",
        )
        for ends, events in graph.links.items()
    ]


def _total(graph: _Graph) -> int:
    return max((graph.through(key) for key in graph.boxes), default=0) or 1


def _wide(events: int, total: int) -> float:
    return max(ALL_WIDE * events / total, LEAST_WIDE)


def _words(graph: _Graph) -> str:
    ends = [f"{box.name} {box.note}" for box in graph.boxes.values() if box.column >= 2]
    return f"The events of the last minute, from streams over routes to upstreams: {'; '.join(ends) or 'none'}"


def _per_minute(events: int) -> str:
    return f"{events}/min"


def lines_of(text: str, characters: int) -> tuple[str, ...]:
    """Break a name into at most two lines, before one of its parts if possible, and shorten it if it is too long."""
    if len(text) <= characters:
        return (text,)
    breaks: Iterable[int] = (at for at in range(characters, characters // 2, -1) if text[at] in "._-:/ ")
    at = next(iter(breaks), characters)
    rest = text[at:].strip()
    return text[:at], _cut(rest, characters)


def _fitted(note: str, characters: int) -> str:
    """Return the part of a note that fits: the number without the health, which the symbol shows, or the first part."""
    first, _, more = note.partition(" · ")
    if len(note) > characters and more:
        note = f"{first[0]} {more}" if first[0] in SYMBOLS.values() else first
    return _cut(note, characters)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
