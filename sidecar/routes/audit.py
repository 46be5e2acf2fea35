"""What a file says without effect, although each of its lines is right.

A *mistake* is what nobody can mean: a route that no event reaches, or that its upstream never accepts. It is
refused like any other problem. A *warning* is for what does no harm: an upstream that no route uses, an entry of
`accepts` that adds nothing. It is shown, and that is all.

Both are told from the patterns as they are written (see `overlap`), so what is said is certain; what only shows
with a regular expression taken apart is not said.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from sidecar.routes.config import Config, Route
from sidecar.routes.overlap import covers, disjoint
from sidecar.routes.pattern import Pattern
from sidecar.routes.section import Path

MAX_BOXES = 512
"""Combinations of alternatives of one `match` that are looked at one by one; of more it is looked at as a whole."""

Box = Mapping[str, Pattern]
"""The keys of a `match`, each with its pattern: an event fits where all do."""


def mistakes(config: Config) -> Iterator[tuple[Path, str]]:
    """Yield each part that has no effect and was surely meant to have one."""
    boxes = [route.match.patterns for route in config.routes]
    for index, route in enumerate(config.routes):
        takers = _takers(boxes[index], boxes[:index])
        if takers:
            yield ("routes", index), _never_reached(config.routes, takers)
        elif _is_never_accepted(config, route):
            yield (
                ("routes", index, "to"),
                f"is {route.to!r}, which accepts nothing that this route takes; mend upstreams.{route.to}.accepts, "
                "or write reject with a reason",
            )


def warnings(config: Config) -> Iterator[tuple[Path, str]]:
    """Yield each part that is superfluous and harms nobody."""
    used = {route.to for route in config.routes}
    for name, upstream in config.upstreams.items():
        if name not in used:
            yield ("upstreams", name), "is not used by any route; remove it, or write a route to it"
        for index, other in _superfluous([entry.patterns for entry in upstream.accepts or ()]):
            yield (
                ("upstreams", name, "accepts", index),
                f"adds nothing: accepts[{other}] already lets in all that it would; remove one of them",
            )


def _superfluous(entries: Sequence[Box]) -> Iterator[tuple[int, int]]:
    """Yield each entry that another one covers, with that one; of two that are equal the later."""
    for index, entry in enumerate(entries):
        for at, other in enumerate(entries):
            if at != index and _box_covers(other, entry) and (at < index or not _box_covers(entry, other)):
                yield index, at
                break


def _never_reached(routes: Sequence[Route], takers: Sequence[int]) -> str:
    names = " and ".join(f"routes[{index}] ({routes[index].name})" for index in takers)
    takes, that = ("takes", "that one") if len(takers) == 1 else ("take", "those")
    return f"is never reached: {names} {takes} every event that it would; put it above {that}, or remove it"


def _takers(box: Box, earlier: Sequence[Box]) -> list[int]:
    """Return which of the earlier routes together take all that `box` would; none where something is left."""
    for index, each in enumerate(earlier):
        if _box_covers(each, box):
            return [index]
    takers: set[int] = set()
    for part in _parts(box):
        taker = next((index for index, each in enumerate(earlier) if _box_covers(each, part)), None)
        if taker is None:
            return []
        takers.add(taker)
    return sorted(takers)


def _parts(box: Box) -> Iterator[Box]:
    """Yield a box for each combination of alternatives, or the whole where there are too many."""
    combinations = 1
    for pattern in box.values():
        combinations *= len(pattern.matchers)
    if combinations > MAX_BOXES:
        yield box
        return
    for chosen in itertools.product(*(pattern.alternatives for pattern in box.values())):
        yield dict(zip(box, chosen, strict=True))


def _is_never_accepted(config: Config, route: Route) -> bool:
    """Whether certainly no event that `route` takes fits an entry of its upstream's `accepts`."""
    entries = config.upstreams[route.to].accepts if route.to is not None else None
    if entries is None:
        return False
    arriving = route.match.patterns
    if route.stream is not None:
        arriving.pop("stream", None)
        if not route.stream.placeholders:
            arriving["stream"] = Pattern.parse([route.stream.source])
    return all(_boxes_disjoint(arriving, entry.patterns) for entry in entries)


def _box_covers(wide: Box, narrow: Box) -> bool:
    return all(key in narrow and covers(pattern, narrow[key]) for key, pattern in wide.items())


def _boxes_disjoint(one: Box, other: Box) -> bool:
    return any(disjoint(one[key], other[key]) for key in one.keys() & other.keys())
