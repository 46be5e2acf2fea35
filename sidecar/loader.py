"""The text of `routes.yaml` becomes a `Config`, or everything that is wrong with it, in the operator's words.

Three readings, each as far as it goes, so that one wrong line hides no other: YAML itself (`yamlmarks`), each
section against its fields (`config`), and the sections against each other (here).
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sidecar.config import Config, Expect, Route, Section, Test, Upstream, shown
from sidecar.errors import ConfigError, Problem
from sidecar.template import STREAM_NAME
from sidecar.yamlmarks import Mark, Marked, Path
from sidecar.yamlmarks import read as read_yaml


class Source:
    """The text of a file, and where each part of it stands."""

    def __init__(self, text: str, file: str) -> None:
        """`file` is its name in messages."""
        self._file = file
        self._lines = text.splitlines()
        self.marked = read_yaml(text)

    def problem(self, path: Path, message: str, mark: Mark | None = None) -> Problem:
        """Return what is to be said of the part at `path`, with the line it stands in."""
        at = mark or self.marked.mark_of(path)
        line = self._lines[at.line - 1] if at.line <= len(self._lines) else ""
        return Problem(self._file, at.line, at.column, _dotted(path), message, line)

    def problems(self, found: Iterable[tuple[Path, str]]) -> list[Problem]:
        """Return them all, in the order of the file."""
        return sorted((self.problem(*each) for each in found), key=Problem.place)


def load(text: str, file: str = "routes.yaml") -> tuple[Config, Source]:
    """Return the configuration in `text`, and where its parts stand; `file` is its name in messages.

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


def _build(marked: Marked) -> tuple[Config | None, list[tuple[Path, str]]]:
    if marked.data is None:
        return None, [((), "is empty; it needs version, upstreams and routes")]
    try:
        config = Config.model_validate(marked.data)
    except ValidationError as error:
        problems = [_in_words(details) for details in error.errors(include_url=False)]
        return None, problems + list(_contradictions(_Parts.of_broken(marked.data)))
    return config, list(_contradictions(_Parts(dict(config.upstreams), list(config.routes), list(config.tests))))


@dataclass
class _Parts:
    """The parts of a file that can be read, in their places; None is one that cannot."""

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
    """Read a section; one that is wrong elsewhere, by these `parts` of it alone."""
    try:
        return section.model_validate(value)
    except ValidationError:
        known = {key: value[key] for key in parts if key in value} if isinstance(value, dict) else {}
        return _part(section, known) if known and known != value else None


def _in_words(details: Mapping[str, Any]) -> tuple[Path, str]:
    """Say one of pydantic's complaints in the operator's words."""
    path: Path = tuple(part for part in details["loc"] if part != "[key]")
    kind = details["type"]
    if kind == "extra_forbidden":
        allowed = _keys_of(_section_at(path[:-1]))
        return path, f"is an unknown key{_nearest(str(path[-1]), allowed)}; allowed here: {', '.join(allowed)}"
    if kind == "missing":
        return path, "is missing, and has no default"
    if kind == "value_error":
        return path, str(details["ctx"]["error"])
    if kind == "literal_error":
        expected = details["ctx"]["expected"].replace("'", "")
        allowed = re.split(r", | or ", expected)
        guess = _nearest(str(details["input"]), allowed)
        return path, f"is {shown(details['input'])}{guess}; allowed: {expected}"
    if kind == "too_short":
        return path, "is empty; it needs at least one entry"
    wanted = {
        "model_type": "a mapping (key: value)",
        "dict_type": "a mapping (key: value)",
        "list_type": "a list (each entry after a dash, or in brackets)",
        "bool_type": "true or false",
    }.get(kind)
    found = shown(details["input"])
    return path, f"is {found}; it should be {wanted}" if wanted else f"is {found}: {details['msg']}"


def _contradictions(parts: _Parts) -> Iterator[tuple[Path, str]]:
    """Yield what each part allows but the parts together do not."""
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
                f"is {route.name!r}, as routes[{first[route.name]}] already is; names are unique",
            )
        first.setdefault(route.name, index)
        yield from _route_contradictions(("routes", index), route, list(parts.upstreams))
    for index, test in enumerate(parts.tests):
        if test is not None:
            yield from _test_contradictions(("tests", index), test, list(parts.upstreams), list(first))


def _upstream_contradictions(path: Path, upstream: Upstream) -> Iterator[tuple[Path, str]]:
    templated = "{datacenter}" in upstream.url
    if templated and not upstream.datacenters:
        yield (*path, "url"), "has {datacenter}, but there is no list of datacenters to put in its place"
    if upstream.datacenters and not templated:
        yield (*path, "datacenters"), "is given, but url has no {datacenter} for them"
    if len(set(upstream.datacenters)) != len(upstream.datacenters):
        yield (*path, "datacenters"), "names a datacenter twice"
    if upstream.accepts == []:
        yield (*path, "accepts"), "is an empty list, which accepts nothing; leave the key out to accept everything"
    times = upstream.timeouts
    if not times.connect <= times.attempt <= times.deadline:
        yield (*path, "timeouts"), "should have connect ≤ attempt ≤ deadline, since each contains the one before"
    check = upstream.health_check
    if check.timeout > check.interval:
        yield (*path, "health_check", "timeout"), "is longer than the interval; a check ends before the next begins"
    if not check.path.startswith("/"):
        yield (*path, "health_check", "path"), f"is {check.path!r}; a path starts with a slash, as /_info"
    if upstream.outlier.percent > 100:
        yield (*path, "outlier", "percent"), f"is {upstream.outlier.percent}; a share is at most 100"
    if times.deadline > 4.5:
        yield (
            (*path, "timeouts", "deadline"),
            f"is {times.deadline:g}s; model servers give up after 5s, so at most 4.5s",
        )


def _route_contradictions(path: Path, route: Route, upstreams: list[str]) -> Iterator[tuple[Path, str]]:
    if (route.to is None) == (route.reject is None):
        yield path, "should have either to or reject, and not both"
    if route.to is not None and upstreams and route.to not in upstreams:
        yield (
            (*path, "to"),
            f"is {route.to!r}, and no upstream is called that{_nearest(route.to, upstreams)}; "
            f"there is {_all(upstreams)}",
        )
    if route.reject is not None:
        for key in ("stream", "order_by"):
            if getattr(route, key):
                yield (*path, key), "has no effect in a route that rejects"
        if route.acknowledge == "spooled":
            yield (*path, "acknowledge"), "has no effect in a route that rejects"
    if route.stream is None:
        return
    groups = route.match.stream.group_names if route.match.stream else frozenset()
    for group in sorted(route.stream.groups - groups):
        there = f"it captures {_all(sorted(groups)) or 'none'}"
        yield (
            (*path, "stream"),
            f"uses {{{group}}}, which match.stream does not capture ({there}); "
            "there is also {stream} and {labels.NAME}",
        )


def _test_contradictions(path: Path, test: Test, upstreams: list[str], routes: list[str]) -> Iterator[tuple[Path, str]]:
    expect = test.expect
    if expect.model_dump(exclude_none=True) == {}:
        yield (*path, "expect"), f"expects nothing; give at least one of {_all(_keys_of(Expect))}"
    if expect.upstream is not None and upstreams and expect.upstream not in upstreams:
        guess = _nearest(expect.upstream, upstreams)
        yield (*path, "expect", "upstream"), f"is {expect.upstream!r}, no upstream{guess}"
    if expect.route is not None and expect.route not in routes:
        yield (*path, "expect", "route"), f"is {expect.route!r}, no route{_nearest(expect.route, routes)}"
    if expect.stream is not None and not STREAM_NAME.fullmatch(expect.stream):
        yield (*path, "expect", "stream"), f"is {expect.stream!r}, which no stream can be called"


def _section_at(path: Path) -> type[BaseModel]:
    """Return the section that a path of keys and indices leads to."""
    section: type[BaseModel] = Config
    named = False  # whether the next part is a name of the operator's (`upstreams.NAME`), and no key of ours
    for part in path:
        if isinstance(part, int) or named:
            named = False
            continue
        field = next((each for key, each in section.model_fields.items() if (each.alias or key) == part), None)
        named = field is not None and typing.get_origin(field.annotation) is dict
        inner = next(_sections_in(field.annotation), None) if field else None
        section = inner or section
    return section


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    arguments = typing.get_args(annotation)
    if not arguments and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in arguments:
        yield from _sections_in(argument)


def _keys_of(section: type[BaseModel]) -> list[str]:
    return [field.alias or key for key, field in section.model_fields.items()]


def _nearest(found: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(found, allowed, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _all(names: list[str]) -> str:
    return ", ".join(names)


def _dotted(path: Path) -> str:
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else (f".{part}" if words else part)
    return words
