"""The validator judges as the `jsonschema` package does, in Ajv's words, and judges nothing by halves."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.demo.emulator import ajv
from sidecar.demo.emulator.gate import SCHEMAS
from tests import exchanges
from tests.exchanges import Json

EVENTS = {name: event for name, event in exchanges.base_events().items() if name != "test"}
SPECIMENS = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    1.5,
    "",
    "x",
    "2026-11-22T00:00:00Z",
    [],
    ["x", "x"],
    {},
    {"a": 1},
]


def schema_of(event: Json) -> dict[str, Any]:
    """The schema that this event names."""
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{event['$schema'][1:]}.json").read_bytes())
    return schema


def places(value: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member, at every depth."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*path, key)
        if isinstance(value[key], dict | list):
            yield from places(value[key], (*path, key))


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@given(data=st.data())
def test_it_agrees_with_jsonschema_on_what_is_valid(event: Json, data: st.DataObject) -> None:
    """Whatever one value of an event is replaced by, or left out, both validators accept or both refuse."""
    schema, changed = schema_of(event), copy.deepcopy(event)
    *parents, key = data.draw(st.sampled_from(list(places(event))))
    parent = changed
    for step in parents:
        parent = parent[step]
    if data.draw(st.booleans()):
        parent[key] = data.draw(st.sampled_from(SPECIMENS))
    else:
        del parent[key]
    found = ajv.Validator(schema).errors(copy.deepcopy(changed))
    # jsonschema takes `format` for an annotation, EventGate for a condition.
    accepted = all(error["keyword"] == "format" for error in found)
    assert accepted == jsonschema.Draft7Validator(schema).is_valid(changed)


def test_defaults_are_filled_in() -> None:
    """A missing property with a default has it afterwards, as with Ajv's useDefaults."""
    event = exchanges.build_event({"base": "tags", "remove": ["rev_based"]}, exchanges.base_events())
    assert ajv.Validator(schema_of(event)).errors(event) == []
    assert event["rev_based"] is False


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"type": "string", "pattern": "^a"}, "b", "'' should match pattern \"^a\""),
        ({"type": "string", "maxLength": 1}, "😀😀", "'' should NOT be longer than 1 characters"),
        ({"type": "string", "const": "a"}, "b", "'' should be equal to constant"),
        ({"type": "array", "maxItems": 1}, [1, 2], "'' should NOT have more than 1 items"),
        ({"type": "object", "minProperties": 1}, {}, "'' should NOT have fewer than 1 properties"),
        ({"type": "object", "required": ["a"]}, {}, "'' should have required property 'a'"),
        ({"type": "object", "properties": {"a b": {"type": "null"}}}, {"a b": 1}, "'['a b']' should be null"),
        (
            {"type": "number", "enum": [1]},
            True,
            "'' should be number, '' should be equal to one of the allowed values",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_keyword_has_the_words_of_ajv(schema: dict[str, Any], value: Json, words: str) -> None:
    """What no recording shows is worded as in Ajv's templates."""
    assert ajv.errors_text(ajv.Validator(schema).errors(value)) == words


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "oneOf": []},
        {"type": ["string", "null"]},
        {"minLength": 1},
        {"type": "string", "format": "ipv6"},
        {"type": "array", "uniqueItems": True},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
    ],
    ids=json.dumps,
)
def test_what_it_cannot_judge_it_refuses(schema: dict[str, Any]) -> None:
    """A schema with a keyword it does not know is refused, not checked by half."""
    with pytest.raises(ajv.SchemaError):
        ajv.Validator(schema)
