"""Sections of `routes.yaml`: mappings with known keys. Reading a section reports all problems in it at once.

A section is a class of `config`; its annotations are the types of the keys:

    Annotated[T, Form]        a scalar, read by the form
    list[T], dict[K, T]       a list, or a mapping with free keys; with `NotEmpty` at least one entry
    Literal["a", "b"]         one of these words
    T | None                  the same, or nothing
    bool, Any, another section

msgspec makes the classes, frozen and cheap to import. Its decoder would stop at the first wrong value, so sections are
read here, with our own messages.
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import msgspec

Path = tuple[str | int, ...]
"""Keys and indices from the root: `("routes", 2, "match")`."""
Complaint = tuple[Path, str]
"""The place of a problem, and its message."""
_HALF = re.compile("[\ud800-\udfff]")
"""What YAML can escape, but UTF-8 cannot have."""
A_MAPPING = "a mapping (key: value)"

fields = functools.cache(msgspec.structs.fields)
"""The fields of a section, each with key, type and default."""


@dataclass(frozen=True, eq=False)
class Form:
    """The format of a scalar, with a function that reads it, so that the error messages are ours."""

    read: Callable[[object], Any]
    """Returns the value, or raises ValueError."""
    schema: Mapping[str, Any]
    """The same as JSON Schema, for editors."""


class NotEmpty:
    """Marks a list or a mapping that must have at least one entry."""


class Refused(ValueError):
    """A section cannot be read; `complaints` has all problems in it."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        """`complaints` is never empty."""
        self.complaints = tuple(complaints)
        super().__init__("; ".join(f"{'.'.join(map(str, path))} {message}" for path, message in self.complaints))


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping in `routes.yaml`: frozen, and an unknown key is an error."""

    @classmethod
    def read(cls, value: object) -> Self:
        """Return the section in plain data.

        Raises:
            Refused: with all problems.

        """
        reading = _Reading()
        section: Self = reading.of(cls, value, ())
        if reading.complaints:
            raise Refused(reading.complaints)
        return section


def keys_of(section: type[Section]) -> list[str]:
    """Return the keys that a section may have, as `routes.yaml` writes them."""
    return list(section.__struct_encode_fields__)


def shown(value: object) -> str:
    """Return a YAML value for a message: short, and in YAML's syntax."""
    shown = {True: "true", False: "false", None: "empty"}.get(value) if isinstance(value, bool | None) else None
    return shortened(shown or repr(value))


def shortened(text: str) -> str:
    """Return a text, or the beginning of a long one."""
    return text if len(text) <= 60 else text[:57] + "..."


def string_in(value: object) -> str:
    """Read a string.

    Raises:
        ValueError: it is something else, or no valid text, with what to write instead.

    """
    if isinstance(value, str):
        half = _HALF.search(value)
        if half is None:
            return value
        words = f"has {half[0]!r}, half of a surrogate pair; write the character itself"
    elif isinstance(value, bool):
        words = f"is {shown(value)}: YAML reads bare yes, no, on, off, true, false as a boolean; put it in quotes"
    elif value is None:
        words = "is empty; write a value, in quotes if it begins with #, or remove the key"
    elif isinstance(value, dict):
        words = "is a mapping, which is what { opens in YAML; write a string, in quotes if it has braces"
    elif isinstance(value, list):
        words = f"is {shown(value)}; write one string"
    else:
        kind = "number" if isinstance(value, int | float) else "date" if isinstance(value, dt.date) else "value"
        words = f"is the {kind} {shortened(str(value))}; put it in quotes"
    raise ValueError(words)


def nearest(found: str, allowed: Iterable[str]) -> str:
    """Return a suggestion of a similar key, or an empty string."""
    words = {word.lower(): word for word in allowed}
    near = difflib.get_close_matches(found.lower(), list(words), n=1)
    return f" (did you mean {words[near[0]]!r}?)" if near else ""


def _hint(section: type[Section], key: str) -> str:
    """Return what to write instead of an unknown key: a similar one, or the section inside which it belongs."""
    allowed = keys_of(section)
    near = nearest(key, allowed)
    for field in fields(section):
        inner = isinstance(field.type, type) and issubclass(field.type, Section) and key in keys_of(field.type)
        if inner and not near:
            return f" here; it belongs in {field.encode_name}: write {field.encode_name}: {{{key}: ...}}"
    return f"{near}; allowed here: {', '.join(allowed)}"


class _Reading:
    """Reads plain data once; after a complaint, ignore what its methods return."""

    def __init__(self) -> None:
        self.complaints: list[Complaint] = []
        self._composed: Mapping[Any, Callable[..., Any]] = {
            typing.Annotated: self._annotated,
            types.UnionType: self._optional,
            typing.Union: self._optional,
            list: self._list,
            dict: self._mapping,
            Literal: self._word,
        }

    def of(self, kind: Any, value: object, path: Path) -> Any:
        """Return `value` as this type."""
        read = self._composed.get(typing.get_origin(kind))
        if read is not None:
            return read(value, path, *typing.get_args(kind))
        if kind is bool:
            return value if isinstance(value, bool) else self._should_be("true or false", value, path)
        return value if kind is Any else self._section(value, path, kind)

    def _annotated(self, value: object, path: Path, kind: Any, says: Form | NotEmpty) -> Any:
        if isinstance(says, NotEmpty):
            read = self.of(kind, value, path)
            if value in ([], {}) and value == read:
                self.complaints.append((path, "is empty; it needs at least one entry"))
            return read
        try:
            return says.read(value)
        except ValueError as error:
            self.complaints.append((path, str(error)))

    def _optional(self, value: object, path: Path, kind: Any, _nothing: Any) -> Any:
        if value is None:
            self.complaints.append((path, "is empty; write a value, in quotes if it begins with #, or remove the key"))
            return None
        return self.of(kind, value, path)

    def _list(self, value: object, path: Path, items: Any) -> Any:
        if not isinstance(value, list):
            return self._should_be("a list (each entry after a dash and a space, or in brackets)", value, path)
        return [self.of(items, each, (*path, index)) for index, each in enumerate(value)]

    def _mapping(self, value: object, path: Path, names: Any, values: Any) -> Any:
        if not isinstance(value, dict):
            return self._should_be(A_MAPPING, value, path)
        return {self.of(names, key, (*path, key)): self.of(values, each, (*path, key)) for key, each in value.items()}

    def _word(self, value: object, path: Path, *allowed: str) -> object:
        if value not in allowed:
            words = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
            self.complaints.append((path, f"is {shown(value)}{nearest(str(value), allowed)}; allowed: {words}"))
        return value

    def _section(self, value: object, path: Path, section: type[Section]) -> Any:
        if not isinstance(value, dict):
            return self._should_be(A_MAPPING, value, path)
        found = {}
        for field in fields(section):
            inner = (*path, field.encode_name)
            if field.encode_name in value:
                found[field.name] = self.of(field.type, value[field.encode_name], inner)
            elif field.required:
                self.complaints.append((inner, "is missing; it is required"))
        allowed = keys_of(section)
        for key in value:
            if key not in allowed:
                self.complaints.append(((*path, key), f"is an unknown key{_hint(section, str(key))}"))
        return None if self.complaints else section(**found)

    def _should_be(self, what: str, value: object, path: Path) -> None:
        self.complaints.append((path, f"is {shown(value)}; it must be {what}"))
