"""JSON Schema validation with the exact errors of Ajv 6, EventGate's validator.

Model servers and operators read these errors, so the emulator reports the same ones, in the same order, with the same
paths and messages, and fills in defaults in the same way.

A schema is compiled once to nested functions. Validation takes 10 to 20 µs per event; the general `jsonschema` package
takes 130, which would dominate benchmarks with the emulator as upstream. Only the keywords of event schemas are
supported; a schema with any other is refused, never checked in part.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any
from urllib.parse import quote

from sidecar.demo.emulator.ecmascript import full_matcher, searcher

Json = Any
"""Any parsed JSON value."""

Error = dict[str, Any]
"""`{keyword, dataPath, schemaPath, params, message}`, the keys in Ajv's order."""

# A place in the event: the enclosing place and one more step. It becomes text only for an error.
_Place = tuple["_Place", str] | None
_Check = Callable[[Json, _Place, list[Error]], None]

_ANNOTATIONS = {"$schema", "$id", "title", "description", "default", "examples", "$comment"}

# The keywords for each type, in the order in which Ajv 6 applies them (compile/rules.js).
_KEYWORDS: dict[str, tuple[str, ...]] = {
    "number": ("maximum", "minimum"),
    "string": ("maxLength", "minLength", "pattern", "format"),
    "array": ("maxItems", "minItems", "items", "uniqueItems"),
    "object": ("maxProperties", "minProperties", "required", "additionalProperties", "properties"),
    "boolean": (),
    "null": (),
}

_FORMS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("maximum", "minimum"), lambda value: type(value) in (int, float)),
    **dict.fromkeys(
        ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"),
        lambda value: type(value) is int and value >= 0,
    ),
    **dict.fromkeys(("title", "pattern", "format"), lambda value: type(value) is str),
    "uniqueItems": lambda value: type(value) is bool,
    "enum": lambda value: type(value) is list,
    "items": lambda value: type(value) is dict,
    "required": lambda value: type(value) is list and all(type(name) is str for name in value),
    "additionalProperties": lambda value: type(value) in (bool, dict),
    "properties": lambda value: type(value) is dict,
}
"""The supported forms of keywords; draft-07 has more."""

# As lenient as Ajv's default mode "fast": digits must look right, the calendar is not checked.
_FORMATS = {
    "date-time": (
        r"\d{4}-[01]\d-[0-3]\d[Tt\s]"
        r"(?:[0-2]\d:[0-5]\d:[0-5]\d|23:59:60)(?:\.\d+)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)"
    ),
    "uri-reference": r"(?:[^\s\\#][^\s#]*)?(?:#[^\s\\]*)?",
}

_IDENTIFIER = re.compile(r"[A-Za-z$_][A-Za-z$_0-9]*")


class SchemaError(ValueError):
    """The schema has something unsupported; the message names it and its place."""


class Validator:
    """One compiled schema. `title` is the schema's own, or empty."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Compile a draft-07 schema given as parsed JSON; raises SchemaError."""
        self._check = _compile(schema, "#")
        self.title: str = schema.get("title", "")

    def errors(self, event: Json) -> list[Error]:
        """Validate an event, and fill in the schema's defaults; the list is empty if it is valid."""
        found: list[Error] = []
        self._check(event, None, found)
        return found


def errors_text(errors: list[Error]) -> str:
    """All errors on one line, in the format of EventGate's lib/error.js."""
    return ", ".join(f"'{error['dataPath']}' {error['message']}" for error in errors)


def _compile(schema: Json, where: str) -> _Check:
    """Compile one schema to a check; `where` is its JSON pointer as a URI fragment."""
    if not isinstance(schema, dict):
        raise SchemaError(f"{where}: a schema that is {schema!r} is not known")
    for keyword, is_known in _FORMS.items():
        if keyword in schema and not is_known(schema[keyword]):
            raise SchemaError(f"{where}: {keyword} is {schema[keyword]!r}, a form that is not known")
    expected = schema.get("type")
    group = "number" if expected == "integer" else expected
    if not isinstance(group, str) or group not in _KEYWORDS:
        raise SchemaError(f"{where}: type is {expected!r}, not one of {sorted([*_KEYWORDS, 'integer'])}")
    if unknown := schema.keys() - _ANNOTATIONS - {"type", "enum", "const", *_KEYWORDS[group]}:
        raise SchemaError(f"{where}: unknown keywords {sorted(unknown)} for type {expected}")
    classes, integral = _CLASSES[group], expected == "integer"
    typed = _typed_rule(group, schema, where)
    general = [_enum_rule(keyword, schema, where) for keyword in ("const", "enum") if keyword in schema]

    def check(data: Json, place: _Place, errors: list[Error]) -> None:
        # JavaScript has one number type, so 1.0 is an integer; a boolean is not a number.
        if type(data) not in classes or (integral and type(data) is float and not data.is_integer()):
            errors.append(_error("type", place, where, {"type": expected}, f"should be {expected}"))
        elif typed is not None:
            typed(data, place, errors)
        for rule in general:
            rule(data, place, errors)

    return check


def _typed_rule(group: str, schema: Mapping[str, Any], where: str) -> _Check | None:
    match group:
        case "number":
            return _limits_rule(_number_limits(schema), where)
        case "string":
            return _string_rule(schema, where)
        case "array":
            return _array_rule(schema, where)
        case "object":
            return _object_rule(schema, where)
    return None


_Limit = tuple[str, Callable[[Any], bool], dict[str, Any], str]
"""Keyword, whether a value violates it, Ajv's params, Ajv's message."""


def _limits_rule(limits: list[_Limit], where: str) -> _Check | None:
    def rule(data: Json, place: _Place, errors: list[Error]) -> None:
        for keyword, breaks, params, message in limits:
            if breaks(data):
                errors.append(_error(keyword, place, where, params, message))

    return rule if limits else None


def _number_limits(schema: Mapping[str, Any]) -> list[_Limit]:
    limits: list[_Limit] = []
    if (most := schema.get("maximum")) is not None:
        params = {"comparison": "<=", "limit": most, "exclusive": False}
        limits.append(("maximum", lambda number: number > most, params, f"should be <= {most}"))
    if (least := schema.get("minimum")) is not None:
        params = {"comparison": ">=", "limit": least, "exclusive": False}
        limits.append(("minimum", lambda number: number < least, params, f"should be >= {least}"))
    return limits


def _size_limits(schema: Mapping[str, Any], noun: str, more: str, fewer: str) -> list[_Limit]:
    """Limits on a length, such as maxItems; `noun` names the things counted."""
    limits: list[_Limit] = []
    suffix = "Length" if noun == "characters" else noun.capitalize()
    if (most := schema.get(f"max{suffix}")) is not None:
        message = f"should NOT {more} than {most} {noun}"
        limits.append((f"max{suffix}", lambda data: len(data) > most, {"limit": most}, message))
    if (least := schema.get(f"min{suffix}")) is not None:
        message = f"should NOT {fewer} than {least} {noun}"
        limits.append((f"min{suffix}", lambda data: len(data) < least, {"limit": least}, message))
    return limits


def _string_rule(schema: Mapping[str, Any], where: str) -> _Check | None:
    limits = _size_limits(schema, "characters", "be longer", "be shorter")
    if (pattern := schema.get("pattern")) is not None:
        try:
            finds = searcher(pattern)
        except ValueError as error:
            raise SchemaError(f"{where}: pattern {error}") from None
        message = f'should match pattern "{pattern}"'
        limits.append(("pattern", lambda text: not finds(text), {"pattern": pattern}, message))
    if (name := schema.get("format")) is not None:
        if name not in _FORMATS:
            raise SchemaError(f"{where}: unknown format {name!r}")
        matches = full_matcher(_FORMATS[name])
        message = f'should match format "{name}"'
        limits.append(("format", lambda text: not matches(text), {"format": name}, message))
    return _limits_rule(limits, where)


def _array_rule(schema: Mapping[str, Any], where: str) -> _Check:
    limits = _limits_rule(_size_limits(schema, "items", "have more", "have fewer"), where)
    check = _compile(schema["items"], f"{where}/items") if "items" in schema else None
    unique = schema.get("uniqueItems", False)
    if unique and schema.get("items", {}).get("type") != "string":
        raise SchemaError(f"{where}: uniqueItems is only known for items of type string")

    def rule(data: list[Any], place: _Place, errors: list[Error]) -> None:
        if limits is not None:
            limits(data, place, errors)
        if check is not None:
            for index, item in enumerate(data):
                check(item, (place, f"[{index}]"), errors)
        if unique and (twins := _twins(data)) is not None:
            i, j = twins
            message = f"should NOT have duplicate items (items ## {j} and {i} are identical)"
            errors.append(_error("uniqueItems", place, where, {"i": i, "j": j}, message))

    return rule


def _object_rule(schema: Mapping[str, Any], where: str) -> _Check:
    """All rules for an object in one function, because Ajv reports their errors interleaved.

    Defaults come first. A missing property that `properties` describes is reported in its place among them, any other
    before them; unknown properties are reported before known ones.
    """
    properties: Mapping[str, Any] = schema.get("properties", {})
    required: list[str] = schema.get("required", [])
    limits = _limits_rule(_size_limits(schema, "properties", "have more", "have fewer"), where)
    undescribed = [name for name in required if name not in properties]
    members = [
        (name, _step(name), name in required, _compile(sub, f"{where}/properties/{_fragment(name)}"))
        for name, sub in properties.items()
    ]
    defaults = [(name, sub["default"]) for name, sub in properties.items() if "default" in sub]
    additional = _additional_rule(schema, where)

    def rule(data: dict[str, Any], place: _Place, errors: list[Error]) -> None:
        for name, default in defaults:
            data.setdefault(name, copy.deepcopy(default))
        if limits is not None:
            limits(data, place, errors)
        errors.extend(_missing(name, place, where) for name in undescribed if name not in data)
        if additional is not None:
            additional(data, place, errors)
        for name, step, needed, check in members:
            if name in data:
                check(data[name], (place, step), errors)
            elif needed:
                errors.append(_missing(name, place, where))

    return rule


def _additional_rule(schema: Mapping[str, Any], where: str) -> _Check | None:
    """The rule for properties that `properties` does not describe; None if any are allowed."""
    known, additional = schema.get("properties", {}), schema.get("additionalProperties", True)
    if additional is True:
        return None
    check = None if additional is False else _compile(additional, f"{where}/additionalProperties")
    message = "should NOT have additional properties"

    def rule(data: dict[str, Any], place: _Place, errors: list[Error]) -> None:
        for name, value in data.items():
            if name in known:
                continue
            if check is not None:
                check(value, (place, f"['{name}']"), errors)
            else:
                params = {"additionalProperty": name}
                errors.append(_error("additionalProperties", place, where, params, message))

    return rule


def _enum_rule(keyword: str, schema: Mapping[str, Any], where: str) -> _Check:
    allowed = schema["enum"] if keyword == "enum" else [schema["const"]]
    params = {"allowedValues": allowed} if keyword == "enum" else {"allowedValue": schema["const"]}
    message = "should be equal to one of the allowed values" if keyword == "enum" else "should be equal to constant"

    def rule(data: Json, place: _Place, errors: list[Error]) -> None:
        if not any(_same(data, value) for value in allowed):
            errors.append(_error(keyword, place, where, params, message))

    return rule


def _error(keyword: str, place: _Place, where: str, params: dict[str, Any], message: str) -> Error:
    return {
        "keyword": keyword,
        "dataPath": "".join(reversed(list(_steps(place)))),
        "schemaPath": f"{where}/{keyword}",
        "params": params,
        "message": message,
    }


def _missing(name: str, place: _Place, where: str) -> Error:
    return _error("required", place, where, {"missingProperty": name}, f"should have required property '{name}'")


def _steps(place: _Place) -> Iterator[str]:
    while place is not None:
        place, step = place
        yield step


def _step(name: str) -> str:
    """Format one property of a path as Ajv does: `.name`, or `['a name']` unless it is an identifier."""
    if _IDENTIFIER.fullmatch(name):
        return f".{name}"
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


def _fragment(name: str) -> str:
    """Escape a property name for a JSON pointer in a URI fragment."""
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="!'()*")


def _twins(data: list[Any]) -> tuple[int, int] | None:
    """The indices of two equal strings, searched from the end as in Ajv; other items are not compared."""
    seen: dict[str, int] = {}
    for index in range(len(data) - 1, -1, -1):
        if type(data[index]) is str:
            if data[index] in seen:
                return index, seen[data[index]]
            seen[data[index]] = index
    return None


def _same(left: Json, right: Json) -> bool:
    """Whether both are equal in JavaScript: a number is a double, a boolean is not a number."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _double(left) == _double(right)
    return bool(left == right)


def _double(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


_CLASSES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
}
