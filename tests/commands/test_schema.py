"""Promises of `schema`: the schema refuses what the loader refuses, and vice versa."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.commands.schema import json_schema
from sidecar.errors import ConfigError
from sidecar.routes.language.loader import read
from tests.anyroutes import files
from tests.commands.conftest import run
from tests.jsontext import unhurried

ROOT = Path(__file__).parent.parent.parent
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
EXAMPLES = [
    ROOT / "routes.yaml",
    *(path for path in sorted((ROOT / "examples").glob("*.yaml")) if path.stem != "compose"),
]
BAD = sorted((ROOT / "tests" / "data" / "bad_routes").glob("*.yaml"))

ONLY_CHECK_KNOWS = re.compile(
    r"is not a regular expression that RE2 accepts|no upstream|is not an upstream|is not a route|names must be unique"
    r"|which match.stream does not capture|contains \{datacenter\}, but|is given, but url does not"
    r"|must have connect ≤ attempt ≤ deadline|is longer than interval|use at most"
    r"|with which the url|allowed: from|allowed: up to|cannot be a health check|which no stream name contains"
    r"|like a regular expression|twice under the same name"
)
"""What JSON Schema has no words for: other parts of the file, an order of numbers, another language's syntax."""

FULL: dict[str, Any] = {
    "version": 1,
    "upstreams": {
        "production": {
            "url": "https://eventgate-main.discovery.wmnet:4492/v1/events",
            "topic_prefixes": ["eqiad.", "codfw."],
            "accepts": [{"labels": {"env": "production"}}, {"stream": ["a", "b*"], "schema": "/s/*"}],
            "tls": {"ca_file": "/etc/ca.pem", "server_name": "eventgate"},
            "timeouts": {"connect": "500ms", "attempt": "1.5s", "deadline": "4s"},
            "on_ambiguous": "spool",
            "spool": False,
            "health_check": {"path": "/_info", "interval": "5s", "timeout": "1s", "fall": 3, "rise": 2},
            "outlier": {"consecutive": 3, "percent": 50, "requests": 10, "window": "30s", "ejection": "5s"},
            "coalesce": {"max_events": 64, "max_bytes": "64KiB", "linger": "2ms"},
            "failback": "1m",
        },
        "staging": {"url": "https://staging.svc.{datacenter}.wmnet/v1/events", "datacenters": ["eqiad", "codfw"]},
    },
    "routes": [
        {
            "name": "a",
            "match": {"stream": "/^(?P<model>a+)/", "event": {"x.y": "1"}},
            "to": "staging",
            "stream": "{1}.t",
        },
        {"name": "b", "to": "staging", "acknowledge": "spooled", "order_by": ["wiki_id", "page.page_id"]},
        {"name": "c", "reject": "not today"},
    ],
    "tests": [
        {"name": "t", "labels": {"env": "x"}, "event": {"meta": {"n": 1}}, "expect": {"stream": "a", "refused": False}}
    ],
}
VALUES: list[Any] = [
    None, True, 0, 1, 101, 1001, 1.5, "", " ", "a*", "/(/", "{x}", "{", "5s", "0.0ms", "64KiB", "0B",
    "http://h/v1", "http://h//", "HTTPS://h:1/x", "http://u@h/x", "http://h/x?q", "http://{datacenter}/x", "/_info",
    "staging.", "resend", [], ["a", "a"], [1], {}, {"a": "b"}, {"a b": "c"}, {"stream": "x"}, [{}],
]  # fmt: skip


def problems(file: Any) -> list[str]:
    """Return the loader's problems with a file, except for those only it can find."""
    try:
        read(json.dumps(file))
    except ConfigError as error:
        return [each.message for each in error.problems if not ONLY_CHECK_KNOWS.search(each.message)]
    return []


def kinds_of_places() -> list[tuple[Any, ...]]:
    """Return one path to each kind of value in a file."""
    kinds = {
        tuple("*" if isinstance(part, int) else part for part in path): path for path in reversed(list(places(FULL)))
    }
    return list(kinds.values())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value in a file."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def edited(file: Any, path: tuple[Any, ...], value: Any, *, drop: bool, key: str | None) -> Any:
    """Return the file with the value at `path` replaced or removed, or its key renamed."""
    new = copy.deepcopy(file)
    if not path:
        return value
    parent = new
    for part in path[:-1]:
        parent = parent[part]
    if drop:
        del parent[path[-1]]
    elif key is not None and isinstance(parent, dict):
        parent[key] = parent.pop(path[-1])
    else:
        parent[path[-1]] = value
    return new


def agree(file: Any) -> None:
    """Assert that schema and loader agree."""
    underlined = [f"{list(error.absolute_path)}: {error.message}" for error in VALIDATOR.iter_errors(file)]
    refused = problems(file)
    assert bool(underlined) == bool(refused), (underlined, refused)


def test_the_schema_is_valid() -> None:
    """By draft 7, and its examples are valid by it."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    for definition in SCHEMA["definitions"].values():
        inner = jsonschema.Draft7Validator({**definition, "definitions": SCHEMA["definitions"]})
        assert [
            error.message for example in definition.get("examples", ()) for error in inner.iter_errors(example)
        ] == []


def test_every_key_is_described() -> None:
    """And every section."""
    sections = [SCHEMA, *SCHEMA["definitions"].values()]
    assert [section for section in sections if not section["description"]] == []
    bare = [key for section in sections for key, each in section["properties"].items() if not each.get("description")]
    assert bare == []


def test_the_shipped_schema_is_current() -> None:
    """`make docs` was run after the last change."""
    assert json.loads((ROOT / "routes.schema.json").read_text(encoding="utf-8")) == SCHEMA


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_editors_find_the_schema(path: Path) -> None:
    """The first line of each shipped file points to it, and the file is valid."""
    first, _ = path.read_text(encoding="utf-8").split("\n", 1)
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None
    assert (path.parent / found[1]).resolve() == ROOT / "routes.schema.json"
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_schema_and_loader_agree_on_each_mistake(path: Path) -> None:
    """For every kind of mistake that concerns one value."""
    try:
        file = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        return  # an editor sees by itself that this is no YAML
    text = path.with_suffix(".txt").read_text(encoding="utf-8")
    if not re.search("is a duplicate key|is an alias|which is not a string", text):
        agree(file)


def test_schema_and_loader_agree_on_what_is_right() -> None:
    """For a file with every key."""
    assert (problems(FULL), list(VALIDATOR.iter_errors(FULL))) == ([], [])


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_schema_and_loader_agree_on_any_value_anywhere(value: Any) -> None:
    """For each of these values in each place."""
    for path in kinds_of_places():
        agree(edited(FULL, path, value, drop=False, key=None))


@pytest.mark.parametrize("key", [None, "other", "a b", "labels", ""])
def test_schema_and_loader_agree_on_missing_and_unknown_keys(key: str | None) -> None:
    """For each removed and each renamed key."""
    for path in kinds_of_places():
        if path and isinstance(path[-1], str):
            agree(edited(FULL, path, None, drop=key is None, key=key))


@unhurried
@given(files(), st.data())
def test_schema_and_loader_agree_on_any_edit(file: Any, data: st.DataObject) -> None:
    """For any two edits of any file."""
    agree(file)
    for _ in range(2):
        path = data.draw(st.sampled_from(list(places(file))))
        value, drop = data.draw(st.sampled_from(VALUES)), data.draw(st.booleans())
        file = edited(file, path, value, drop=drop, key=None)
        agree(file)


def test_schema_prints_the_shipped_file() -> None:
    """Byte for byte."""
    result = run("schema")
    assert (result.exit_code, result.stdout) == (0, (ROOT / "routes.schema.json").read_text(encoding="utf-8"))
