"""`eventgate-sidecar schema`: prints the JSON Schema of `routes.yaml`, for completion and checks in editors.

It is generated from `config`: the fields, their formats and their docstrings. What JSON Schema cannot express, such as
that an upstream exists, is left to `check`.
"""

from __future__ import annotations

import ast
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import click
import msgspec
from msgspec.structs import FieldInfo

from sidecar.commands.terminal import print_json
from sidecar.routes.language import config
from sidecar.routes.language.scalars import in_duration_words, in_size_words
from sidecar.routes.language.section import Form, NotEmpty, Section, fields

Schema = dict[str, Any]

_TEXT = {"type": "string"}
EXTRAS: Mapping[str, Schema] = {
    "Upstream": {
        "properties": {"datacenters": {"uniqueItems": True}, "accepts": {"minItems": 1}},
        "examples": [
            {"url": "https://staging.svc.{datacenter}.wmnet:4492/v1/events", "datacenters": ["eqiad", "codfw"]},
        ],
    },
    "Match": {"examples": [{"labels": {"env": "staging"}, "stream": "mediawiki.revision_score_*"}]},
    "Route": {
        "oneOf": [
            {"required": ["to"], "properties": {"to": _TEXT, "reject": {"type": "null"}}},
            {
                "required": ["reject"],
                "properties": {"reject": _TEXT, **{key: {"type": "null"} for key in ("to", "stream", "mirror")}},
            },
        ],
        "examples": [
            {"name": "staging", "match": {"labels": {"env": "staging"}}, "to": "staging"},
            {"name": "no-tags", "match": {"stream": "*_tags_*"}, "reject": "tags would change the live search index"},
        ],
    },
    "Expect": {"minProperties": 1, "examples": [{"upstream": "staging"}, {"refused": True}]},
    "Test": {
        "examples": [
            {
                "name": "a staging score goes to the testing stream",
                "labels": {"env": "staging"},
                "event": {"meta": {"stream": "mediawiki.revision_score_damaging"}},
                "expect": {"upstream": "production", "stream": "mediawiki.revision-score-test"},
            }
        ]
    },
}
"""Constraints and examples that the fields of a section do not have."""


@click.command()
def schema() -> None:
    """Print the JSON Schema of routes.yaml, for editors.

    Exit status: 0 always.
    """
    print_json(json_schema())


def json_schema() -> Schema:
    """Return the schema in draft 7, which editors support best."""
    words = dict(_descriptions())
    ours = [each for each in Section.__subclasses__() if each.__module__ == config.__name__]
    sections = {each.__name__: _section(each, words) for each in ours}
    top = sections.pop("Config")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "routes.yaml of eventgate-sidecar",
        **top,
        "definitions": sections,
    }


def _section(section: type[Section], words: Mapping[tuple[str, str], str]) -> Schema:
    extras = EXTRAS.get(section.__name__, {})
    properties = {}
    for field in fields(section):
        kind = field.type.__name__ if isinstance(field.type, type) else ""
        described = {"description": words.get((section.__name__, field.name)) or words[kind, ""]}
        of_kind = {**_of(field.type), **extras.get("properties", {}).get(field.encode_name, {})}
        if "$ref" in of_kind:  # draft 7 ignores everything beside a reference
            of_kind = {"allOf": [of_kind]}
        properties[field.encode_name] = {**described, **of_kind, **_default(field)}
    required = [field.encode_name for field in fields(section) if field.required]
    rest = {key: value for key, value in extras.items() if key != "properties"}
    description = {"description": words[section.__name__, ""]}
    closed = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**description, **closed, **({"required": required} if required else {}), **rest}


def _of(hint: Any) -> Schema:
    """Return the schema of an annotated type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in COMPOSED:
        return COMPOSED[origin](*arguments)
    if isinstance(hint, type) and issubclass(hint, Section):
        return {"$ref": f"#/definitions/{hint.__name__}"}
    return {bool: {"type": "boolean"}, Any: {}}[hint]


def _annotated(hint: Any, says: Form | NotEmpty) -> Schema:
    if isinstance(says, Form):
        return dict(says.schema)
    of_kind = _of(hint)
    return of_kind | {"minItems" if of_kind["type"] == "array" else "minProperties": 1}


def _mapping(keys: Any, values: Any) -> Schema:
    return {"type": "object", "propertyNames": {"pattern": _of(keys)["pattern"]}, "additionalProperties": _of(values)}


def _optional(hint: Any, _nothing: Any) -> Schema:
    return _of(hint)  # left out, not null


COMPOSED: Mapping[Any, Callable[..., Schema]] = {
    typing.Annotated: _annotated,
    list: lambda items: {"type": "array", "items": _of(items)},
    dict: _mapping,
    Literal: lambda *values: {"enum": list(values)},
    types.UnionType: _optional,
    typing.Union: _optional,
}
"""Builds the schema of a composed type."""


def _default(field: FieldInfo) -> Schema:
    value = field.default
    if value is msgspec.NODEFAULT or value is None or isinstance(value, Section):
        return {}
    if field.type == config.Duration:
        return {"default": in_duration_words(value)}
    return {"default": in_size_words(value) if field.type == config.Size else value}


def _descriptions() -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the docstrings of each section's fields, and of the section under an empty name."""
    for node in ast.parse(inspect.getsource(config)).body:
        if isinstance(node, ast.ClassDef):
            yield (node.name, ""), " ".join((ast.get_docstring(node) or "").split())
            for field, words in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(field.target, ast.Name)
                    and isinstance(words, ast.Expr)
                ):
                    yield (node.name, field.target.id), " ".join(str(ast.literal_eval(words.value)).split())
