"""The validator agrees with the `jsonschema` package, with Ajv's messages, and refuses unsupported schemas."""

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
    """Return the schema of this event."""
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{event['$schema'][1:]}.json").read_bytes())
    return schema


def places(value: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path of every member, at every depth."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*path, key)
        if isinstance(value[key], dict | list):
            yield from places(value[key], (*path, key))


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@given(data=st.data())
def test_it_agrees_with_jsonschema_on_what_is_valid(event: Json, data: st.DataObject) -> None:
    """For any replaced or removed value of an event."""
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
    """As with Ajv's useDefaults."""
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
def test_each_keyword_has_ajvs_message(schema: dict[str, Any], value: Json, words: str) -> None:
    """From Ajv's templates, for those without a recording."""
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
        True,
        None,
        [],
        {"type": "object", "title": 1},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "additionalProperties": "no"},
        {"type": "object", "required": True},
        {"type": "object", "required": [1]},
        {"type": "array", "items": [{"type": "string"}]},
        {"type": "array", "items": True},
        {"type": "array", "items": {}},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": 1},
        {"type": "array", "maxItems": "1"},
        {"type": "string", "maxLength": -1},
        {"type": "string", "minLength": None},
        {"type": "string", "pattern": 1},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "(?<!a)b"},
        {"type": "string", "format": []},
        {"type": "number", "maximum": True},
        {"type": "string", "enum": "abc"},
    ],
    ids=json.dumps,
)
def test_unsupported_schemas_are_refused(schema: Json) -> None:
    """With an unknown keyword, or an unknown form of a keyword, instead of checking only a part."""
    with pytest.raises(ajv.SchemaError):
        ajv.Validator(schema)


KINDS = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
ALIKE: list[Json] = [
    *(None, True, False, 0, 1, 1.0, -0.0, 1.5, "", "1", [], [0], [False], [0.0], [1], [True], [[0]], [[False]], {}),
    *(
        {"a": 0},
        {"a": False},
        {"a": 0.0},
        {"a": [1]},
        {"a": [True]},
        {"a": 0, "b": 1},
        {"b": 1, "a": 0},
        [0, 1],
        [1, 0],
    ),
]


@pytest.mark.parametrize("constant", ALIKE, ids=json.dumps)
@pytest.mark.parametrize("keyword", ["const", "enum"])
def test_equality_is_that_of_json(keyword: str, constant: Json) -> None:
    """`[false]` is not `[0]`, at any depth; 1 is 1.0, and the order of keys does not count."""
    for value in ALIKE:
        schema = {"type": KINDS[type(value)], keyword: [constant] if keyword == "enum" else constant}
        assert (ajv.Validator(schema).errors(value) == []) == jsonschema.Draft7Validator(schema).is_valid(value)


@pytest.mark.parametrize(("left", "right"), [(2**53, 2**53 + 1), (10**400, 10**500), (-(10**400), float("-inf"))])
def test_numbers_are_doubles(left: float, right: float) -> None:
    """Numbers that JavaScript cannot distinguish are equal."""
    assert ajv.Validator({"type": "number", "const": left}).errors(right) == []
    assert ajv.Validator({"type": "number", "const": left}).errors(0) != []


@pytest.mark.parametrize(
    ("text", "valid"),
    [("2026-11-22T00:00:00Z", True), ("2026-11-22\u00a000:00:00Z", True), ("\u0662026-11-22T00:00:00Z", False)],
)
def test_formats_use_javascripts_digits_and_spaces(text: str, valid: bool) -> None:
    """ASCII digits, Unicode white space."""
    assert (ajv.Validator({"type": "string", "format": "date-time"}).errors(text) == []) == valid
