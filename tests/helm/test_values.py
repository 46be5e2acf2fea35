"""Values: wrong ones are refused in words, each has its description, and the schema is closed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.engine import (
    CHARTS,
    VALUES,
    Refused,
    Values,
    built,
    overlaid,
    remove_built,
    rendered,
    rendered_text,
    values_of,
)

HERE = VALUES[0].parent.parent
WRONG: list[dict[str, Any]] = yaml.safe_load((HERE / "data" / "wrong_values.yaml").read_text())
LIBRARY = CHARTS / "eventgate-sidecar"
SHIPPED = (CHARTS.parent / "routes.yaml").read_text()
OPTIONAL = {"global", "chartName"}
"""Known to Helm and to Wikimedia's charts; no value of ours."""


def outlink() -> Values:
    """Values that are right."""
    return values_of(HERE / "values" / "outlink.yaml")


def refusal(values: Values, chart: Path | None = None) -> str:
    """Say why Helm refuses the values."""
    with pytest.raises(Refused) as refused:
        rendered_text(values, chart)
    return str(refused.value)


@pytest.fixture(scope="module", autouse=True)
def charts() -> Iterator[None]:
    """Remove the built charts in the end."""
    yield
    remove_built()


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.get("says", case.get("schema"))[:60])
def test_wrong_values_are_refused_in_words(case: dict[str, Any]) -> None:
    """What is wrong is named with its value and the fix, before it reaches a cluster, with a schema and without."""
    values = overlaid(outlink(), case["values"])
    said = refusal(values)
    if "schema" in case:
        assert case["schema"] in said
        said = refusal(values, built("values.schema.json")) if "says" in case else ""
    beginning, cut, _ = case.get("says", "").partition("…")
    assert said == beginning or (cut and said.startswith(beginning))


def test_all_wrong_values_are_named_at_once() -> None:
    """One attempt shows everything that must be fixed."""
    wrong = {"labels": {"env": ""}, "version": "latest", "routes": ""}
    assert len(refusal(overlaid(outlink(), {"eventgate_sidecar": wrong})).splitlines()) == 3


def test_without_a_schema_unknown_and_missing_values_are_refused_too() -> None:
    """A chart that vendors the templates brings no schema; they know every key and its type themselves."""
    text = (LIBRARY / "templates" / "_validate.tpl").read_text().partition("$words")[0]
    known = dict(re.findall(r'"(\w*)" \(dict ((?:"\w+"\s*)+)\)', text))
    defaults = yaml.safe_load((LIBRARY / "values.yaml").read_text())
    kinds = {bool: "bool", int: "int", str: "string", list: "slice", dict: "map"}
    expected = {section: defaults[section] if section else defaults for section in known}
    assert {section: re.findall(r'"(\w+)" "(\w+)"', pairs) for section, pairs in known.items()} == {
        section: [(key, kinds[type(value)]) for key, value in part.items()] for section, part in expected.items()
    }


@pytest.mark.parametrize(
    "text", [f"{re.sub('(?m)^(?=.)', '  ', SHIPPED)}   \n\n", f"\n\n    # more indented\n{SHIPPED}# \t end"]
)
def test_routes_of_any_form_arrive_as_they_are(text: str) -> None:
    """An indented file, or one with space around it, is the same in the ConfigMap."""
    release = rendered(overlaid(outlink(), {"eventgate_sidecar": {"routes": text}}))
    assert [each["data"]["routes.yaml"] for each in release if each["kind"] == "ConfigMap"] == [text]


def test_istio_has_one_object_of_a_kind_for_each_host() -> None:
    """A host with two ports, and hosts whose names are alike or long, get objects that do not replace each other."""
    hosts = ["a-b.c.wmnet:1", "a-b.c.wmnet:2", "a.b-c.wmnet:1", f"{'x' * 60}.a.wmnet:1", f"{'x' * 60}.b.wmnet:1"]
    upstreams = {f"u{index}": {"url": f"https://{host}/v1/events"} for index, host in enumerate(hosts)}
    routes = yaml.safe_dump({"version": 1, "upstreams": upstreams, "routes": [{"name": "all", "to": "u0"}]})
    values = overlaid(outlink(), {"eventgate_sidecar": {"istio": {"egress": "mesh"}, "routes": routes}})
    entries = [each for each in rendered(values) if each["kind"] == "ServiceEntry"]
    assert len({each["metadata"]["name"] for each in entries}) == len(entries) == 4
    ports = {each["spec"]["hosts"][0]: [port["number"] for port in each["spec"]["ports"]] for each in entries}
    assert ports["a-b.c.wmnet"] == [1, 2]
    assert max(len(each["metadata"]["name"]) for each in entries) <= 63


def sections(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every part of a schema that describes a map."""
    if schema.get("type") == "object":
        yield path, schema
    for name, part in {**schema.get("properties", {}), **schema.get("definitions", {})}.items():
        yield from sections(part, f"{path}/{name}")
    if isinstance(schema.get("items"), dict):
        yield from sections(schema["items"], f"{path}[]")


def test_the_schema_of_the_library_is_closed() -> None:
    """A misspelt key is refused wherever it is; the names of labels and of variables are for the templates to judge."""
    schema = json.loads((LIBRARY / "values.schema.json").read_text())
    is_open = [path for path, part in sections(schema) if part.get("additionalProperties") is not False]
    assert is_open == ["/global", "/labels", "/otel"]


@pytest.mark.parametrize("chart", ["eventgate-sidecar", "isvc"])
def test_schema_and_values_have_the_same_keys(chart: str) -> None:
    """No value is without a type, and none is described that does not exist."""
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    assert set(schema["properties"]) - OPTIONAL == set(defaults)


@pytest.mark.parametrize("chart", ["eventgate-sidecar", "isvc"])
def test_every_value_has_its_description(chart: str) -> None:
    """Above every value, or above the first of a section, there are words."""
    lines = (CHARTS / chart / "values.yaml").read_text().splitlines()
    bare = [
        line for above, line in zip(["", *lines], lines, strict=False) if re.match(r"\w", line) and above[:1] != "#"
    ]
    assert bare == []


def test_every_value_is_used() -> None:
    """No value is there that no template reads."""
    templates = "".join(path.read_text() for path in (LIBRARY / "templates").glob("*.tpl"))
    used = templates.partition('define "eventgate-sidecar.validate.values"')[0]
    defaults = yaml.safe_load((LIBRARY / "values.yaml").read_text())
    assert [name for name in defaults if not re.search(rf"(\$sidecar|eventgate_sidecar|\))\.{name}\b", used)] == []
