"""The scalars at dotted paths of an event, all found in one reading.

msgspec reads an object at some hundred megabytes a second and hands out the members that are wanted, so an event of any
width is looked at once and quickly. It takes the last of a name that stands twice, as JSON.parse does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import msgspec

from sidecar.events import scan

MAX_VALUE_BYTES = 16 * 1024
"""Of a scalar that is looked at; a longer one counts as none."""
MAX_COMPARED = 256 * 1024 * 1024
"""Bytes of an object times keys that rules ask for in it, as msgspec compares each with each; of one with more no path
is looked at. It is 10 MB and 25 keys, or 1 MB and 256."""
MAX_LOOKED_AT_BYTES = 256 * 1024
"""Of an event that msgspec does not read, for which each path takes a search of its own: of a longer one no path is
looked at."""


class _Level:
    """The members of an object that are wanted, or that others are wanted of."""

    def __init__(self, paths: Iterable[tuple[Sequence[str], str]]) -> None:
        """Each path with the keys that are left of it here."""
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
        """Add to `found` the scalars of the object `data`, of which there are none in any other value.

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
    """Return a string's text, else the JSON as written (`42`, `true`); None for an object, an array or what is long."""
    data = memoryview(value)
    if len(data) > MAX_VALUE_BYTES or bytes(data[:1]) in (b"{", b"["):
        return None
    text = bytes(data).decode("latin-1")
    return scan.string_at(text, 0) if text[0] == '"' else text


@functools.lru_cache(maxsize=64)
def _level_of(paths: tuple[str, ...]) -> _Level:
    """Return what reads these paths; a configuration has a few sets of them."""
    return _Level((path.split("."), path) for path in paths)


def scalars_at(raw: bytes, paths: tuple[str, ...]) -> dict[str, str]:
    """Return the scalars at `paths` of the object `raw`, by path; those that are not there are not in it."""
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
