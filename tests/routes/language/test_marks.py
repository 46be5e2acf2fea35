"""Promises of `marks`: every value has its place, and no text crashes the reader."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routes.language.marks import IS_ALIAS, MAX_BYTES, Mark, read
from sidecar.routes.language.mistakes import MERGES
from sidecar.routes.language.section import Path
from tests.jsontext import Json, unhurried

TEXT = """\
# a remark
routes:
  - name: a
    match: {stream: b,
            labels: {env: c}}
  - d
"""


def test_values_are_read_as_plain_data() -> None:
    """Mappings, lists, texts and numbers."""
    marked = read(TEXT)
    assert marked.data == {"routes": [{"name": "a", "match": {"stream": "b", "labels": {"env": "c"}}}, "d"]}
    assert marked.complaints == []


@pytest.mark.parametrize(
    ("path", "mark"),
    [
        pytest.param((), Mark(2, 1), id="the whole"),
        pytest.param(("routes",), Mark(2, 1), id="a key"),
        pytest.param(("routes", 0), Mark(3, 5), id="an entry of a list"),
        pytest.param(("routes", 0, "match"), Mark(4, 5), id="a key in an entry"),
        pytest.param(("routes", 0, "match", "labels", "env"), Mark(5, 22), id="a key in braces, a line further"),
        pytest.param(("routes", 1), Mark(6, 5), id="a text in a list"),
        pytest.param(("routes", 0, "to"), Mark(3, 5), id="what is not there: what should hold it"),
        pytest.param(("routes", 7, "name"), Mark(2, 1), id="an entry that is not there: the list"),
        pytest.param(("tests",), Mark(2, 1), id="a section that is not there: the whole"),
    ],
)
def test_each_part_has_its_place(path: Path, mark: Mark) -> None:
    """Line and column count from 1, and are those of the key, or of the nearest existing parent."""
    assert read(TEXT).mark_of(path) == mark


def test_an_empty_text_has_a_place_too() -> None:
    """It has no data, and keys are missing at its start."""
    marked = read("# nothing\n")
    assert (marked.data, marked.complaints, marked.mark_of(("version",))) == (None, [], Mark(1, 1))


NO_DATE = "is 2026-13-01, which YAML reads as a value of type timestamp, but it is not valid; put it in quotes"
NO_TYPE = 'a value that begins with ! is a type to YAML; put it in quotes: "!!python/name:os.system"'
OCTAL = "is 010, which YAML reads as 8; write a plain number, or put text in quotes"
HOUR = "is 1:30, which YAML reads as 90; write a plain number, or put text in quotes"


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        pytest.param(
            "a: 1\nb: 2\na: 3\nb: 4\n",
            [
                (Mark(3, 1), ("a",), "is a duplicate key, first on line 1; keep one of them"),
                (Mark(4, 1), ("b",), "is a duplicate key, first on line 2; keep one of them"),
            ],
            id="keys that stand twice",
        ),
        pytest.param(
            "r:\n  - name: a\n    to: b\n    name: c\n    to: d\n",
            [
                (
                    Mark(4, 5),
                    ("r", 0, "name"),
                    "is a duplicate key, first on line 2; keep one of them, or write a dash before this one if a new "
                    "entry begins here",
                )
            ],
            id="a missing dash",
        ),
        pytest.param(
            "a: {yes: 1}\n1: 2\n[x]: 3\n",
            [
                (Mark(1, 5), ("a",), "has the key yes, which is not a string; put it in quotes"),
                (Mark(2, 1), (), "has the key 1, which is not a string; put it in quotes"),
                (Mark(3, 1), (), "has the key a list or a mapping, which is not a string; put it in quotes"),
            ],
            id="keys that are no text",
        ),
        pytest.param(
            "a: &x 1\nb: [2, *x]\n",
            [
                (
                    Mark(2, 8),
                    ("b", 1),
                    IS_ALIAS,
                )
            ],
            id="an alias",
        ),
        pytest.param(
            "a: &x [*x]\n",
            [
                (
                    Mark(1, 8),
                    ("a", 0),
                    IS_ALIAS,
                )
            ],
            id="an endless alias",
        ),
        pytest.param(
            "&x a: &y b\n*y : 1\n",
            [
                (
                    Mark(2, 1),
                    (),
                    f"has a key that {IS_ALIAS}",
                )
            ],
            id="an alias as key",
        ),
        pytest.param("a: 2026-13-01\n", [(Mark(1, 4), ("a",), NO_DATE)], id="no date"),
        pytest.param("a: 010", [(Mark(1, 4), ("a",), OCTAL)], id="an octal number"),
        pytest.param("a: 1:30", [(Mark(1, 4), ("a",), HOUR)], id="a number in base 60"),
        pytest.param("a: {<<: {b: c}}", [(Mark(1, 5), (), MERGES)], id="a merge key"),
        pytest.param("a: !!python/name:os.system x", [(Mark(1, 4), (), NO_TYPE)], id="a type that runs code"),
        pytest.param(
            "a: 1\n# \x07",
            [(Mark(2, 3), (), "is not YAML: the character U+0007 is not allowed")],
            id="a bell",
        ),
    ],
)
def test_risky_yaml_is_a_complaint_with_its_place(text: str, complaints: list[tuple[Mark, Path, str]]) -> None:
    """Duplicate keys, aliases and the like, or no YAML; then there is no data."""
    marked = read(text)
    assert (marked.complaints, marked.data) == (complaints, None)


@pytest.mark.parametrize(("bracket", "column"), [("[", 51), ("{a: ", 198), ("- ", 101)], ids=["[", "{", "-"])
@pytest.mark.parametrize("levels", [51, 1_000, 100_000])
def test_deep_nesting_is_a_complaint(bracket: str, column: int, levels: int) -> None:
    """At the place where it becomes too deep."""
    assert read(bracket * levels).complaints == [
        (Mark(1, column), (), "is nested over 50 levels deep; a configuration needs ten at most")
    ]


def test_too_many_values_are_a_complaint() -> None:
    """Reading them would delay a running sidecar's events for seconds; 20,000 are accepted."""
    assert read("\n".join(["- a"] * 19_999)).complaints == []
    assert read("\n".join(["- a"] * 20_000)).complaints == [
        (Mark(20_000, 3), (), "has over 20000 keys and values; a configuration has a few hundred")
    ]


@pytest.mark.parametrize(("length", "complaints"), [(MAX_BYTES, 0), (MAX_BYTES + 1, 1)], ids=["limit", "over"])
def test_a_huge_text_is_not_read(length: int, complaints: int) -> None:
    """A text over a megabyte is refused before it is parsed."""
    assert len(read("#".ljust(length, "x")).complaints) == complaints


def test_a_long_value_is_quoted_by_its_beginning() -> None:
    """Messages go into the log and the status page."""
    ((_, _, message),) = read(f"a: {'9' * 5000}").complaints
    assert message.startswith(f"is {'9' * 57}..., which YAML reads as a value of type int")


@pytest.mark.parametrize(
    "value", ["!!bool maybe", "!!int x", '!!int ""', "!!float x", "!!timestamp x", "2026-02-31", '!!float ""']
)
def test_a_value_that_is_not_of_its_kind_is_a_complaint(value: str) -> None:
    """Even if PyYAML's own constructors fail on it."""
    ((mark, path, message),) = read(f"a: {value}").complaints
    assert (mark, path) == (Mark(1, 4), ("a",))
    assert re.fullmatch(
        r"is .*, which YAML reads as a value of type [a-z]+, but it is not valid; put it in quotes", message
    )


tags = st.sampled_from(["", "!!bool ", "!!int ", "!!float ", "!!timestamp ", "!!binary ", "!!null ", "!!map ", "!x "])
scalars = st.one_of(
    st.sampled_from(["yes", "~", "1_0", "0o9", ".inf", "2026-02-30", "12:99", "<<", "=", '""']),
    st.text(max_size=4),
)
lines = st.tuples(st.sampled_from(["", "  ", "- "]), scalars, st.just(": "), tags, scalars).map("".join)


@unhurried
@given(st.one_of(st.text(max_size=30), st.lists(lines, max_size=4).map("\n".join)))
def test_any_text_is_data_or_complaints(text: str) -> None:
    """Never an exception."""
    marked = read(text)
    assert marked.data is None or marked.complaints == []
    assert all(mark.line >= 1 and mark.column >= 1 for mark, _, _ in marked.complaints)


def paths_in(data: Json, path: Path) -> Iterator[Path]:
    """Every path that leads to something in `data`."""
    yield path
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for part, value in inner:
        yield from paths_in(value, (*path, part))


@unhurried
@given(
    st.recursive(
        st.one_of(st.integers(), st.booleans(), st.none(), st.text("ab\n:#-", max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.text("ab: ", min_size=1, max_size=3), inner, max_size=3),
        ),
        max_leaves=5,
    )
)
def test_every_part_of_the_data_has_a_place(data: Json) -> None:
    """Each mapping, list and scalar has its own mark."""
    marked = read(yaml.safe_dump(data))
    assert marked.data == data
    assert set(marked.values) == set(paths_in(data, ()))
