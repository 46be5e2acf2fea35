"""Finds the scalars at dotted paths of an event, all in one pass.

msgspec reads some hundred megabytes a second and returns only the members asked for, so wide events stay cheap. The
last of duplicate keys counts, as in JSON.parse.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import msgspec

from sidecar.events import scan

MAX_VALUE_BYTES = 16 * 1024
"""A longer scalar counts as missing."""
MAX_COMPARED = 256 * 1024 * 1024
"""Bytes of an object times keys wanted of it, since msgspec compares each with each: 10 MB and 25 keys, or 1 MB and
256. Beyond that no path is looked up."""
MAX_LOOKED_AT_BYTES = 256 * 1024
"""Of an event that msgspec does not read, where each path takes a search of its own. In a longer one no path is looked
up."""


class _Level:
    """The wanted members of one object, and of the objects in it."""

    def __init__(self, paths: Iterable[tuple[Sequence[str], str]]) -> None:
        """`paths`: the remaining keys of each path, and the whole path."""
        leaves: dict[str, str] = {}
        within: dict[str, list[tuple[Sequence[str], str]]] = {}
        for (key, *rest), path in paths:
            if rest:
                within.setdefault(key, []).append((rest, path))
            else:
                leaves[key] = path
        keys = list(dict.fromkeys([*leaves, *within]))
        self._wanted = [
            (f"m{number}", leaves.get(key), _Level(within[key]) if key in within else None)
            for number, key in enumerate(keys)
        ]
        fields = [
            (f"m{number}", msgspec.Raw | msgspec.UnsetType, msgspec.field(name=key, default=msgspec.UNSET))
            for number, key in enumerate(keys)
        ]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Members", fields)).decode

    def read(self, data: bytes | msgspec.Raw, found: dict[str, str]) -> None:
        """Add the scalars of the object `data` to `found`; other values have none.

        Raises:
            ValueError, RecursionError: msgspec does not read it.

        """
        view = memoryview(data)
        if bytes(view[:1]) != b"{" or len(view) * len(self._wanted) > MAX_COMPARED:
            return
        members = self._decode(data)
        for name, path, level in self._wanted:
            value = getattr(members, name)
            if value is msgspec.UNSET:
                continue
            text = None if path is None else _scalar(value)
            if path is not None and text is not None:
                found[path] = text
            if level is not None:
                level.read(value, found)


def _scalar(value: msgspec.Raw) -> str | None:
    """Return a string's text, else the JSON as written; None for an object, an array or a value that is too long."""
    data = memoryview(value)
    if len(data) > MAX_VALUE_BYTES or bytes(data[:1]) in (b"{", b"["):
        return None
    text = bytes(data).decode("latin-1")
    return scan.string_at(text, 0) if text[0] == '"' else text


@functools.lru_cache(maxsize=64)
def _level_of(paths: tuple[str, ...]) -> _Level:
    """Build the reader of these paths; a configuration has only a few sets of them."""
    return _Level((path.split("."), path) for path in paths)


def scalars_at(raw: bytes, paths: tuple[str, ...]) -> dict[str, str]:
    """Return the scalars found at `paths` of the object `raw`, by path."""
    found: dict[str, str] = {}
    try:
        _level_of(paths).read(raw, found)
    except (ValueError, RecursionError):  # a lone surrogate in a key
        if len(raw) > MAX_LOOKED_AT_BYTES:
            return {}
        text = raw.decode("latin-1")
        values = {path: _scalar_by_search(text, path) for path in paths}
        return {path: value for path, value in values.items() if value is not None}
    return found


def _scalar_by_search(text: str, path: str) -> str | None:
    start, end = 0, len(text)
    for key in path.split("."):
        span = scan.last_member(text, start, key)
        if span is None:
            return None
        start, end = span
    if text[start] in "{[" or end - start > MAX_VALUE_BYTES:
        return None
    return scan.string_at(text, start) if text[start] == '"' else text[start:end]
