"""Turns the text of `routes.yaml` into a `Config`, or into a list of all problems in it.

It is checked in three steps, each as far as possible, so that one wrong line hides no other: the YAML itself
(`marks`), each section (`config`), and the sections together (here).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sidecar.errors import ConfigError, Problem
from sidecar.routes.language.config import Config, Expect, Match, Mirror, Route, Test, Upstream
from sidecar.routes.language.marks import Mark, Marked
from sidecar.routes.language.marks import read as read_yaml
from sidecar.routes.language.pattern import STREAM_NAME, Regex, Template
from sidecar.routes.language.scalars import in_duration_words, path_in, url_in
from sidecar.routes.language.section import Complaint, Path, Refused, Section, keys_of, nearest

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._*?\[\]!-]")
"""Characters that neither a stream's name nor a glob for one has."""
CURLY_QUOTES = "“”‘’„"


class Source:
    """The text of a file, and the place of each part in it."""

    def __init__(self, text: str, file: str) -> None:
        """`file` is its name in messages."""
        self._file = file
        self._lines = text.splitlines()
        self.marked = read_yaml(text)

    def problem(self, path: Path, message: str, mark: Mark | None = None) -> Problem:
        """Return a problem with the part at `path`, with the line it is in."""
        at = mark or self.marked.mark_of(path)
        line = self._lines[at.line - 1] if at.line <= len(self._lines) else ""
        return Problem(self._file, at.line, at.column, _dotted(path), message, line)

    def problems(self, found: Iterable[Complaint]) -> list[Problem]:
        """Return them all, in the order of the file."""
        return sorted((self.problem(*each) for each in found), key=Problem.place)


def load(text: str, file: str) -> tuple[Config, Source]:
    """Return the configuration in `text`, and the places of its parts; `file` is its name in messages.

    Raises:
        ConfigError: with every problem, in the order of the file.

    """
    source = Source(text, file)
    complaints = [source.problem(path, message, mark) for mark, path, message in source.marked.complaints]
    if complaints:
        raise ConfigError(sorted(complaints, key=Problem.place))
    config, found = _build(source.marked)
    if found or config is None:
        raise ConfigError(source.problems(found))
    return config, source


def read(text: str, file: str = "routes.yaml") -> Config:
    """Return the configuration in `text`, as `load` does."""
    return load(text, file)[0]


def _build(marked: Marked) -> tuple[Config | None, list[Complaint]]:
    if marked.data is None:
        return None, [((), "is empty; it needs version, upstreams and routes")]
    try:
        config = Config.read(marked.data)
    except Refused as refusal:
        strange = {path[:-1] for path, words in refusal.complaints if words.startswith("is an unknown key")}
        found = _contradictions(_Parts.of_broken(marked.data))
        # An unknown key of a route is what should have been `to`.
        return None, [*refusal.complaints, *(each for each in found if each[0] not in strange)]
    return config, list(_contradictions(_Parts(dict(config.upstreams), list(config.routes), list(config.tests))))


@dataclass
class _Parts:
    """The parts of a file that can be read, each at its index; None stands for one that cannot."""

    upstreams: dict[str, Upstream | None]
    routes: list[Route | None]
    tests: list[Test | None]

    @classmethod
    def of_broken(cls, data: Any) -> _Parts:
        """Read what can be read, so that one wrong line hides no other problem."""
        keys = data if isinstance(data, dict) else {}
        return cls(
            {str(name): _part(Upstream, each) for name, each in _mapped(keys.get("upstreams")).items()},
            [_part(Route, each, ("name", "to", "reject")) for each in _listed(keys.get("routes"))],
            [_part(Test, each) for each in _listed(keys.get("tests"))],
        )


def _mapped(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_S = TypeVar("_S", bound=Section)


def _part(section: type[_S], value: Any, parts: Sequence[str] = ()) -> _S | None:
    """Read a section; if it is wrong, read only these `parts` of it."""
    for each in (value, {key: value[key] for key in parts if key in _mapped(value)}):
        with contextlib.suppress(Refused):
            return section.read(each)
    return None


def _contradictions(parts: _Parts) -> Iterator[Complaint]:
    """Yield contradictions between valid parts."""
    for upstream_name, upstream in parts.upstreams.items():
        if upstream is not None:
            yield from _upstream_contradictions(("upstreams", upstream_name), upstream)
    first: dict[str, int] = {}
    for index, route in enumerate(parts.routes):
        if route is None:
            continue
        if route.name in first:
            yield (
                ("routes", index, "name"),
                f"is {route.name!r}, which routes[{first[route.name]}] already uses; names must be unique",
            )
        first.setdefault(route.name, index)
        yield from _route_contradictions(("routes", index), route, list(parts.upstreams))
    for index, test in enumerate(parts.tests):
        if test is not None:
            yield from _test_contradictions(("tests", index), test, list(parts.upstreams), list(first))


def _upstream_contradictions(path: Path, upstream: Upstream) -> Iterator[Complaint]:
    templated = "{datacenter}" in upstream.url
    if templated and not upstream.datacenters:
        yield (
            (*path, "url"),
            "contains {datacenter}, but there is no list of datacenters; add one, such as datacenters: [eqiad, codfw]",
        )
    if upstream.datacenters and not templated:
        yield (
            (*path, "datacenters"),
            "is given, but url does not contain {datacenter}; put it where the name belongs, or remove the list",
        )
    if len(set(upstream.datacenters)) != len(upstream.datacenters):
        yield (*path, "datacenters"), "lists a datacenter twice; keep one of them"
    if upstream.accepts == []:
        yield (*path, "accepts"), "is an empty list, which accepts nothing; remove the key to accept everything"
    if upstream.outlier.percent > 100:
        yield (*path, "outlier", "percent"), f"is {upstream.outlier.percent}; it must be at most 100"
    yield from _endpoint_contradictions(path, upstream)
    for index, match in enumerate(upstream.accepts or ()):
        yield from _match_contradictions((*path, "accepts", index), match)
    yield from _time_contradictions(path, upstream)


def _time_contradictions(path: Path, upstream: Upstream) -> Iterator[Complaint]:
    times, check, linger = upstream.timeouts, upstream.health_check, upstream.coalesce.linger
    if not times.connect <= times.attempt <= times.deadline:
        yield (*path, "timeouts"), "must have connect ≤ attempt ≤ deadline, because each includes the one before"
    if check.timeout > check.interval:
        yield (*path, "health_check", "timeout"), "is longer than interval; a check must end before the next one starts"
    if times.deadline > 4.5:
        yield (
            (*path, "timeouts", "deadline"),
            f"is {times.deadline:g}s; use at most 4.5s, because model servers give up after 5s",
        )
    if linger > times.deadline / 2:
        most = in_duration_words(times.deadline / 2)
        words = f"is {in_duration_words(linger)}; use at most {most}, half of the deadline"
        yield (*path, "coalesce", "linger"), words


def _match_contradictions(path: Path, match: Match) -> Iterator[Complaint]:
    """Yield the patterns that no stream name can match; they were meant as regular expressions."""
    for matcher in match.stream.matchers if match.stream else ():
        strange = None if isinstance(matcher, Regex) else _NOT_IN_A_NAME.search(matcher.source)
        if strange is not None:
            is_quote = strange[0] in CURLY_QUOTES
            fix = 'put the name in straight quotes: "…"' if is_quote else "write a regular expression as /…/"
            yield (*path, "stream"), f"has {strange[0]!r}, which no stream name contains; {fix}"


def _endpoint_contradictions(path: Path, upstream: Upstream) -> Iterator[Complaint]:
    """Yield datacenter names that do not fit in the URL, and a path that no health check can pass."""
    for datacenter, url in upstream.endpoints:
        try:
            url_in(url)
        except ValueError as error:
            yield (*path, "datacenters"), f"has {datacenter}, with which the url {error}"
    try:
        path_in(upstream.health_check.path)
    except ValueError as error:
        yield (*path, "health_check", "path"), str(error)


def _route_contradictions(path: Path, route: Route, upstreams: list[str]) -> Iterator[Complaint]:
    if route.to is None and route.reject is None:
        add = f"add to with an upstream{_among(upstreams)}, or reject with a reason"
        yield path, f"has neither to nor reject; {add}"
    if route.to is not None and route.reject is not None:
        yield (*path, "reject"), "is given beside to; keep one of them"
    yield from _to_contradictions((*path, "to"), route.to, upstreams)
    if route.reject is not None:
        for key in ("stream", "mirror", "order_by"):
            if getattr(route, key):
                yield (*path, key), "has no effect in a route with reject; remove it"
        if route.acknowledge == "spooled":
            yield (*path, "acknowledge"), "has no effect in a route with reject; remove it"
    yield from _match_contradictions((*path, "match"), route.match)
    yield from _name_contradictions((*path, "stream"), route.stream, route.match)
    if route.mirror is not None:
        yield from _mirror_contradictions((*path, "mirror"), route, route.mirror, upstreams)


def _mirror_contradictions(path: Path, route: Route, mirror: Mirror, upstreams: list[str]) -> Iterator[Complaint]:
    yield from _to_contradictions((*path, "to"), mirror.to, upstreams)
    yield from _name_contradictions((*path, "stream"), mirror.stream, route.match)
    if mirror.percent > 100:
        yield (*path, "percent"), f"is {mirror.percent}; it must be at most 100"
    if mirror.to == route.to and str(mirror.stream) == str(route.stream):
        yield path, f"would send every event to {mirror.to} twice under the same name; give it another to or stream"


def _to_contradictions(path: Path, name: str | None, upstreams: list[str]) -> Iterator[Complaint]:
    if name is not None and upstreams and name not in upstreams:
        guess = nearest(name, upstreams)
        yield path, f"is {name!r}, but no upstream has that name{guess}; known upstreams: {_all(upstreams)}"


def _name_contradictions(path: Path, template: Template | None, match: Match) -> Iterator[Complaint]:
    groups = match.stream.group_names if match.stream else frozenset()
    for group in sorted(template.groups - groups) if template else ():
        there = f"it captures {_all(sorted(groups)) or 'none'}"
        yield (
            path,
            f"uses {{{group}}}, which match.stream does not capture ({there}); "
            "{stream} and {labels.NAME} also work",
        )


def _test_contradictions(path: Path, test: Test, upstreams: list[str], routes: list[str]) -> Iterator[Complaint]:
    expect = test.expect
    if not expect.given:
        yield (*path, "expect"), f"expects nothing; give at least one of {_all(keys_of(Expect))}"
    if expect.upstream is not None and upstreams and expect.upstream not in upstreams:
        guess = nearest(expect.upstream, upstreams)
        yield (*path, "expect", "upstream"), f"is {expect.upstream!r}, which is not an upstream{guess}"
    if expect.route is not None and expect.route not in routes:
        yield (*path, "expect", "route"), f"is {expect.route!r}, which is not a route{nearest(expect.route, routes)}"
    if expect.stream is not None and not STREAM_NAME.fullmatch(expect.stream):
        yield (*path, "expect", "stream"), f"is {expect.stream!r}, which is not a valid stream name"


def _among(upstreams: list[str]) -> str:
    return f" ({_all(upstreams)})" if upstreams else ""


def _all(names: list[str]) -> str:
    return ", ".join(names)


def _dotted(path: Path) -> str:
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else (f".{part}" if words else part)
    return words
