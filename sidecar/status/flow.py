"""Lays out the picture of the last minute: streams → routes → upstreams → datacenters, link widths by events.

Refused, spooled and failed events branch off. Hand-overs leave below the spool for the gateway; in a gateway they come
from pods, at the left. page.html.j2 draws it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.events.results import Outcome
from sidecar.status.value import EndpointNow, HopNow, RouteNow, Status, UpstreamNow, title_of
from sidecar.upstreams.health import OUT

MAX_NODES = 8
"""Maximum streams, pods, and routes drawn; the rest is one node."""
LINE, PADDING, GAP, HOP_GAP = 15.0, 9.0, 12.0, 30.0
ALL_WIDE, LEAST_WIDE = 44.0, 1.5
"""The width of a link with all events, and of the narrowest one."""
SYMBOLS = {"healthy": "●", "suspected": "◐", "probation": "◐", "unknown": "○"}
"""For readers who do not see colours; ✕ is for any other health."""

_Key = tuple[str, str]
"""The kind of a node, and its name."""
_Ends = tuple[_Key, _Key]
"""Of a link: from and to."""
_ENDS = {
    Outcome.REFUSED: (2, "refused", "warning"),
    Outcome.SPOOLED: (3, "spool", "warning"),
    Outcome.FAILED: (3, "failed", "bad"),
}
"""Column, name and kind of the nodes for events that do not arrive."""
_SPOOL, _GATEWAY, _HAND_OVERS = ("end", Outcome.SPOOLED), ("hop", "to a gateway"), ("hop", "from pods")


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


@dataclass
class _Graph:
    """The nodes and links, in order of insertion; it is built once for all layouts."""

    boxes: dict[_Key, _Box] = field(default_factory=dict)
    links: Counter[_Ends] = field(default_factory=Counter)
    kinds: dict[_Ends, str] = field(default_factory=dict)

    def link(self, source: _Key, target: _Key, events: int, kind: str = "") -> None:
        self.links[source, target] += events
        self.kinds.setdefault((source, target), kind)

    def through(self, key: _Key) -> int:
        """Return how many events enter a node, or leave it if none enter."""
        into = sum(events for (_, target), events in self.links.items() if target == key)
        return into or sum(events for (source, _), events in self.links.items() if source == key)


def flow_of(status: Status, *layouts: Sequence[Column]) -> list[Picture]:
    """Draw the picture in each layout."""
    graph = _graph(status)
    return [_picture(graph, columns) for columns in layouts]


def _graph(status: Status) -> _Graph:
    graph = _Graph()
    taken = status.spool.hop.taken_over if status.spool else {}
    _add_streams_and_routes(graph, status)
    _add_pods(graph, taken, {each.name for each in status.upstreams})
    for upstream in status.upstreams:
        if upstream.used or graph.through(("upstream", upstream.name)):
            _add_upstream(graph, upstream)
            if not status.flows and not taken:
                graph.boxes["route", ""] = _Box(1, "no events")
                graph.link(("route", ""), ("upstream", upstream.name), 0)
    for route in status.routes:
        _add_copies(graph, route)
    for outcome, end in _ENDS.items():  # below all datacenters
        if graph.through(("end", outcome)):
            graph.boxes["end", outcome] = _Box(*end)
        if outcome is Outcome.SPOOLED and status.spool:
            _add_gateway(graph, status.spool.hop)
    more = {"stream": " from clients" if taken else "", "pod": " from pods"}
    waiting = f" · {status.spool.events} wait" if status.spool else ""
    for key, box in graph.boxes.items():
        box.note = box.note or _per_minute(graph.through(key)) + (waiting if key == _SPOOL else more.get(key[0], ""))
    return graph


def _add_streams_and_routes(graph: _Graph, status: Status) -> None:
    """Add the busiest streams and routes, in order of the routes, and their links."""
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
    places = {route.name: route.to for route in status.routes}
    for flow, stream, route in ends:
        more = f"{len(by_route) - len(routes)} more routes"
        name = more if flow.route not in routes else flow.route or "no route"
        graph.boxes.setdefault(route, _Box(1, name, "" if flow.route else "warning"))
        graph.link(stream, route, sum(flow.outcomes.values()))
        _add_branches(graph, route, places.get(flow.route or ""), flow.outcomes)


def _add_branches(graph: _Graph, route: _Key, to: str | None, outcomes: Mapping[str, int]) -> None:
    """Add the links from a route to its upstream, and to where events end that do not arrive."""
    sent = sum(outcomes.values()) - outcomes.get(Outcome.REFUSED, 0)
    if to and sent:
        graph.link(route, ("upstream", to), sent)
    for outcome, (_, _, kind) in _ENDS.items():
        source = route if outcome is Outcome.REFUSED else to and ("upstream", to)
        if source and outcomes.get(outcome):
            graph.link(source, ("end", outcome), outcomes[outcome], "spooled" if kind == "warning" else "down")


def _add_pods(graph: _Graph, taken: Mapping[str, Mapping[str, int]], upstreams: Set[str]) -> None:
    """Add the busiest pods of those whose events came by hand-overs, by their labels, and their links."""
    counts = Counter({labels: sum(each.values()) for labels, each in taken.items()})
    busiest = _busiest(counts)
    for labels, _ in counts.most_common():
        pod = ("pod", labels if labels in busiest else "more")
        name = labels.replace(",", ", ") or "no labels"
        graph.boxes.setdefault(pod, _Box(0, name if labels in busiest else f"{len(counts) - len(busiest)} more pods"))
        graph.boxes[_HAND_OVERS] = _Box(1, "hand-overs")
        graph.link(pod, _HAND_OVERS, counts[labels])
        for upstream in taken[labels].keys() & upstreams:  # an event without a route may name any
            _add_branches(graph, _HAND_OVERS, upstream, {Outcome.SPOOLED: taken[labels][upstream]})


def _add_gateway(graph: _Graph, hop: HopNow) -> None:
    """Add the gateway below the spool, if anything is in the picture that may be handed over, or was."""
    if hop.gateway and (hop.handed_over or _SPOOL in graph.boxes):
        fails = bool(hop.trouble and hop.handed_over.keys() - {"taken"})
        graph.boxes.setdefault(_SPOOL, _Box(*_ENDS[Outcome.SPOOLED]))
        kind, note = ("bad", f"✕ {hop.trouble.rpartition(': ')[2]}") if fails else ("", "")
        graph.boxes[_GATEWAY] = _Box(3, f"gateway {hop.gateway}", kind, note)
        graph.link(_SPOOL, _GATEWAY, hop.handed_over.get("taken", 0), "down" if fails else "spooled")


def _add_upstream(graph: _Graph, upstream: UpstreamNow) -> None:
    """Add an upstream with its datacenters."""
    this = ("upstream", upstream.name)
    graph.boxes[this] = _Box(2, upstream.name, "bad" if upstream.out else "")
    for endpoint in upstream.endpoints:
        that, (kind, words) = (f"endpoint of {upstream.name}", endpoint.name), _state(endpoint)
        graph.boxes[that] = _Box(3, endpoint.name, kind, words)
        graph.link(this, that, endpoint.last_minute if endpoint.usable else 0, "" if endpoint.usable else "down")


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


def _picture(graph: _Graph, columns: Sequence[Column]) -> Picture:
    """Lay out the picture, without the nodes of columns without width."""
    boxes = {key: box for key, box in graph.boxes.items() if columns[box.column].width}
    most = max((graph.through(key) for key in graph.boxes), default=0) or 1
    wide = {ends: max(ALL_WIDE * events / most, LEAST_WIDE) for ends, events in graph.links.items() if ends[0] in boxes}
    beside = {ends: width for ends, width in wide.items() if ends[1] != _GATEWAY}  # that is below the spool
    lines = {key: lines_of(box.name, columns[box.column].characters) for key, box in boxes.items()}
    heights = {
        key: round(max((len(lines[key]) + 1) * LINE, *(_sum(beside, key, side) for side in (0, 1))) + PADDING, 1)
        for key in boxes
    }
    tops, height = _stacked(boxes, heights)
    nodes = [
        Node(
            box.kind,
            *(columns[box.column].x, tops[key], columns[box.column].width, heights[key]),
            lines[key],
            _fitted(box.note, columns[box.column].characters + 1),
            f"{box.name}: {box.note}",
        )
        for key, box in boxes.items()
    ]
    places = _places(graph, columns, beside, {key: tops[key] + heights[key] / 2 for key in boxes})
    if _GATEWAY in boxes:
        x = columns[-1].x + columns[-1].width / 2
        places[_SPOOL, _GATEWAY] = x, round(tops[_SPOOL] + heights[_SPOOL], 1), x, tops[_GATEWAY]
    links = [_link(graph, ends, wide[ends], place) for ends, place in places.items()]
    return Picture(columns[-1].x + columns[-1].width, height, nodes, links, _words(graph))


def _sum(wide: Mapping[_Ends, float], key: _Key, side: int) -> float:
    """Return the width of all links that leave (side 0) or enter (side 1) a node."""
    return sum(width for ends, width in wide.items() if ends[side] == key)


def _stacked(boxes: Mapping[_Key, _Box], heights: Mapping[_Key, float]) -> tuple[dict[_Key, float], float]:
    """Place the nodes of each column below each other, in its middle; return their tops, and the total height."""
    stacks: dict[int, list[_Key]] = {}
    for key, box in boxes.items():
        stacks.setdefault(box.column, []).append(key)
    tall = {column: sum(heights[key] + _gap(key) for key in stack) - GAP for column, stack in stacks.items()}
    height = max(tall.values(), default=0.0)
    tops: dict[_Key, float] = {}
    for column, stack in stacks.items():
        y = (height - tall[column]) / 2 - GAP
        for key in stack:
            y += _gap(key)
            tops[key], y = round(y, 1), y + heights[key]
    return tops, round(height, 1)


def _gap(key: _Key) -> float:
    """Return the room above a node."""
    return HOP_GAP if key == _GATEWAY else GAP


def _places(
    graph: _Graph, columns: Sequence[Column], wide: Mapping[_Ends, float], middles: Mapping[_Key, float]
) -> dict[_Ends, tuple[float, float, float, float]]:
    """Return both points of each link, sorted at nodes so that few cross; `middles` are the nodes'."""
    heights: dict[tuple[_Ends, int], float] = {}
    for key, middle in middles.items():
        for side in (0, 1):
            y = middle - _sum(wide, key, side) / 2
            for ends in sorted((each for each in wide if each[side] == key), key=lambda each: middles[each[1 - side]]):
                heights[ends, side], y = round(y + wide[ends] / 2, 1), y + wide[ends]
    places = {}
    for ends in wide:
        begin, end = (columns[graph.boxes[key].column] for key in ends)
        places[ends] = begin.x + begin.width, heights[ends, 0], end.x, heights[ends, 1]
    return places


def _link(graph: _Graph, ends: _Ends, width: float, place: tuple[float, float, float, float]) -> Link:
    (source, target), kind, events = (graph.boxes[key].name for key in ends), graph.kinds[ends], graph.links[ends]
    words = f"{source} → {target}: {'copies' if kind == 'copies' else _per_minute(events)}"
    return Link(kind or "flow", *place, round(width, 1) if events else 0, words)


def _words(graph: _Graph) -> str:
    ends = [f"{box.name} {box.note}" for key, box in graph.boxes.items() if box.column >= 2 or key == _HAND_OVERS]
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
