"""Values: wrong ones are refused in words, each has its description, and the schema is closed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.helm.engine import CHARTS, VALUES, Refused, Values, overlaid, rendered_text, values_of

HERE = VALUES[0].parent.parent
WRONG: list[dict[str, Any]] = yaml.safe_load((HERE / "data" / "wrong_values.yaml").read_text())
LIBRARY = CHARTS / "eventgate-sidecar"
LIFTWING = (CHARTS.parent / "docs" / "liftwing.md").read_text()
OPTIONAL = {"global", "chartName"}
"""Known to Helm and to Wikimedia's charts; no value of ours."""


def outlink() -> Values:
    """Values that are right."""
    return values_of(HERE / "values" / "outlink.yaml")


def refusal(values: Values) -> str:
    """Say why Helm refuses the values."""
    with pytest.raises(Refused) as refused:
        rendered_text(values)
    return str(refused.value)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case["says"][:60])
def test_wrong_values_are_refused_in_words(case: dict[str, Any]) -> None:
    """What is wrong is named with its value and the mend, before anything reaches a cluster."""
    said = refusal(overlaid(outlink(), case["values"]))
    if case["says"].startswith("…"):
        assert case["says"][1:] in said
    else:
        assert said == case["says"]


def test_all_wrong_values_are_named_at_once() -> None:
    """One attempt shows everything that is to be mended."""
    wrong = {"labels": {"env": ""}, "version": "latest", "routes": ""}
    assert len(refusal(overlaid(outlink(), {"eventgate_sidecar": wrong})).splitlines()) == 3


def test_without_a_schema_unknown_and_missing_values_are_refused_too() -> None:
    """A chart that vendors the templates brings no schema; what it got wrong is named all the same."""
    text = (LIBRARY / "templates" / "_validate.tpl").read_text()
    known = re.findall(r'"(\w*)" \(list ((?:"\w+" ?)+)\)', text.partition('_isvcs" -}}')[0])
    defaults = yaml.safe_load((LIBRARY / "values.yaml").read_text())
    expected = {section: set(defaults[section] if section else defaults) for section, _ in known}
    assert {section: set(re.findall(r"\w+", names)) for section, names in known} == expected


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


@pytest.mark.parametrize("block", re.findall(r"(?ms)^```yaml\n(eventgate_sidecar:.*?)^```", LIFTWING))
def test_values_that_are_shown_are_accepted(block: str) -> None:
    """Every step of docs/liftwing.md can be taken as it is written."""
    values = overlaid(outlink(), {"eventgate_sidecar": {"enabled": False}})
    assert rendered_text(overlaid(values, yaml.safe_load(block)))


def test_every_value_is_used() -> None:
    """No value is there that no template reads."""
    templates = "".join(path.read_text() for path in (LIBRARY / "templates").glob("*.tpl"))
    used = templates.partition('define "eventgate-sidecar.validate.values"')[0]
    defaults = yaml.safe_load((LIBRARY / "values.yaml").read_text())
    assert [name for name in defaults if not re.search(rf"(\$sidecar|eventgate_sidecar|\))\.{name}\b", used)] == []
