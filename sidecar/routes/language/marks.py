"""Reads YAML into plain data, and remembers the line and column of each part."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from sidecar.routes.language import mistakes
from sidecar.routes.language.section import Path, shortened

MAX_BYTES = 1024 * 1024
MAX_LEVELS = 50
MAX_NODES = 20_000
"""Maximum keys and values: PyYAML needs about a second for them, while events keep flowing."""


ALIAS = "\0alias"
"""The tag of a node that replaces an alias, so that an anchored value is read once. No file can contain this tag."""
IS_ALIAS = "is an alias (*name); write the value out, or put it in quotes if it is a pattern"
_ODD_NUMBER = re.compile(r"[-+]?0[0-9_xb].*|.*[_:].*", re.DOTALL)
"""A number that YAML 1.1 reads in base 8, 16, 2 or 60, or with underscores."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both count from 1."""

    line: int
    column: int


@dataclass
class Marked:
    """The data of a YAML text, the places of its values and keys, and what YAML allows but we do not."""

    data: Any = None
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    complaints: list[tuple[Mark, Path, str]] = field(default_factory=list)

    def mark_of(self, path: Path) -> Mark:
        """Return the place of `path`, or of the nearest part above it that exists."""
        for length in range(len(path), -1, -1):
            mark = self.keys.get(path[:length]) or self.values.get(path[:length])
            if mark is not None:
                return mark
        return Mark(1, 1)


class _TooMuch(yaml.MarkedYAMLError):
    """The text is YAML, but larger than any configuration."""


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with limits: PyYAML bounds its depth only by Python's stack, and its time not at all."""

    levels = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and its contents."""
        self.levels += 1
        self.nodes += 1
        if self.levels > MAX_LEVELS:
            self._refuse(f"is nested over {MAX_LEVELS} levels deep; a configuration needs ten at most")
        if self.nodes > MAX_NODES:
            self._refuse(f"has over {MAX_NODES} keys and values; a configuration has a few hundred")
        alias = self.peek_event() if self.check_event(yaml.AliasEvent) else None  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.levels -= 1
        return yaml.ScalarNode(ALIAS, "", alias.start_mark, alias.end_mark) if alias else node

    def _refuse(self, words: str) -> NoReturn:
        raise _TooMuch(problem=words, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]


def read(text: str) -> Marked:
    """Read one YAML document, with safe types only.

    Duplicate keys, keys that are not strings, and aliases are complaints: a duplicate hides a line of the
    file, and aliases can make a small file huge.
    """
    marked = Marked()
    if len(text.encode(errors="replace")) > MAX_BYTES:
        marked.complaints.append((Mark(1, 1), (), f"is over {MAX_BYTES} bytes; a configuration needs a few kB"))
        return marked
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        marked.complaints.append((mark, (), f"is not YAML: the character U+{error.character:04X} is not allowed"))
        return marked
    try:
        node = loader.get_single_node()
        if node is not None:
            _walk(node, (), marked, loader)
        if node is not None and not marked.complaints:
            marked.data = loader.construct_document(node)
    except _TooMuch as error:
        marked.complaints.append((_mark_of(error.problem_mark or loader.get_mark()), (), str(error.problem)))
    except yaml.MarkedYAMLError as error:
        (line, column), words = mistakes.explain(text, error)
        marked.complaints.append((Mark(line + 1, column + 1), (), words))
    except (ValueError, OverflowError):  # what PyYAML's scanner raises; only these two are numbers to it
        at = loader.get_mark()
        words = "is not YAML: an escaped character or a YAML version is out of range"
        marked.complaints.append((_mark_of(at), (), words))
    finally:
        loader.dispose()
    return marked


def _mark(node: yaml.Node) -> Mark:
    return _mark_of(node.start_mark)


def _mark_of(mark: yaml.Mark) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _walk(node: yaml.Node, path: Path, marked: Marked, loader: yaml.SafeLoader) -> None:
    if node.tag == ALIAS:
        marked.complaints.append((_mark(node), path, IS_ALIAS))
        return
    marked.values[path] = _mark(node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), marked, loader)
    elif isinstance(node, yaml.MappingNode):
        _walk_mapping(node, path, marked, loader)
    else:
        _try_scalar(node, path, marked, loader)


def _try_scalar(node: yaml.Node, path: Path, marked: Marked, loader: yaml.SafeLoader) -> None:
    try:
        value = loader.construct_object(node)
        if isinstance(value, int):
            str(value)  # Python writes no number of over 4,300 digits
        if isinstance(value, int | float) and not isinstance(value, bool) and _ODD_NUMBER.fullmatch(node.value):
            message = (
                f"is {shortened(node.value)}, which YAML reads as {value}; write a plain number, or put text in quotes"
            )
            marked.complaints.append((_mark(node), path, message))
    except yaml.YAMLError:
        raise
    except (ValueError, OverflowError, LookupError, AttributeError):  # what PyYAML's constructors of scalars raise
        kind = node.tag.rpartition(":")[2]
        reads = f"which YAML reads as a value of type {kind}, but it is not valid"
        message = f"is {shortened(node.value)}, {reads}; put it in quotes"
        marked.complaints.append((_mark(node), path, message))


def _walk_mapping(node: yaml.MappingNode, path: Path, marked: Marked, loader: yaml.SafeLoader) -> None:
    new_entry = False
    for key, value in node.value:
        if key.tag == ALIAS:
            marked.complaints.append((_mark(key), path, f"has a key that {IS_ALIAS}"))
            continue
        if key.tag == "tag:yaml.org,2002:merge":
            marked.complaints.append((_mark(key), (), mistakes.MERGES))
            continue
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            found = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
            marked.complaints.append(
                (_mark(key), path, f"has the key {found}, which is not a string; put it in quotes")
            )
            continue
        inner = (*path, key.value)
        if inner in marked.keys:
            first = marked.keys[inner].line
            words = f"is a duplicate key, first on line {first}; keep one of them"
            if key.value == "name" and path and isinstance(path[-1], int):
                words += ", or write a dash before this one if a new entry begins here"
                new_entry = True
            elif new_entry:
                continue  # it follows from the missing dash
            marked.complaints.append((_mark(key), inner, words))
            continue
        marked.keys[inner] = _mark(key)
        _walk(value, inner, marked, loader)
