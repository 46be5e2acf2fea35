"""Promises of `paths`: one pass finds the same values as a search."""

from __future__ import annotations

import time

import pytest

from sidecar.events.paths import MAX_LOOKED_AT_BYTES, MAX_VALUE_BYTES, scalars_at

PATHS = ("a", "a.b", "a.b.c", "x.y", "x.z", "é")


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"a":1,"x":{"y":"1","z":null}}', {"a": "1", "x.y": "1", "x.z": "null"}),
        (b'{"a":{"b":{"c":1.50}}}', {"a.b.c": "1.50"}),
        (b'{"a":{"b":true}, "a": {"b" : false }}', {"a.b": "false"}),
        (b'{"a":[{"b":1}],"x":"y"}', {}),
        (b'{"\\u0061":"\\u00e9","\xc3\xa9":"\xc3\xa9\xff"}', {"a": "é", "é": "é\N{REPLACEMENT CHARACTER}"}),
        (b'{"\\ud800":0,"a":"\\ud800","x":{"y":2,"y":3}}', {"a": "\N{REPLACEMENT CHARACTER}", "x.y": "3"}),
        (b"[1]", {}),
        (b'"a"', {}),
    ],
)
def test_all_paths_are_found_in_one_pass(raw: bytes, found: dict[str, str]) -> None:
    """A search finds them if msgspec does not read the event; the last of duplicate keys counts."""
    assert scalars_at(raw, PATHS) == found


@pytest.mark.parametrize("odd", [b"", b'"\\ud800":0,'], ids=["quickly", "by a search"])
@pytest.mark.parametrize(("more", "found"), [(0, True), (1, False)])
def test_a_long_scalar_counts_as_missing(odd: bytes, more: int, *, found: bool) -> None:
    """Patterns are not compared with megabytes."""
    text = b"v" * (MAX_VALUE_BYTES - 2 + more)
    assert ("a" in scalars_at(b'{%b"a":"%b"}' % (odd, text), PATHS)) is found


def test_a_long_event_is_not_searched() -> None:
    """If msgspec does not read it, each path would take a search of its own."""
    assert scalars_at(b'{"\\ud800":0,"a":1,"long":"%b"}' % (b"x" * MAX_LOOKED_AT_BYTES), PATHS) == {}


def test_a_wide_event_is_read_once_for_all_paths() -> None:
    """Many paths in an event of 490,000 members cost one pass; too many paths are not looked up."""
    raw = b"{" + b",".join(b'"k%06d":%d' % (number, number) for number in range(490_000)) + b"}"
    paths = tuple(f"k{number:06}" for number in range(0, 490_000, 20_000))
    scalars_at(b"{}", paths)
    began = time.process_time()
    found = scalars_at(raw, paths)
    assert time.process_time() - began < 0.5
    assert found == {path: str(int(path[1:])) for path in paths}
    assert scalars_at(raw, (*paths, *(f"{path}x" for path in paths))) == {}
