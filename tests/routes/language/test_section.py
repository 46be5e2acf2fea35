"""Promises of `section`: plain data becomes a section, or a list of all problems."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import pytest

from sidecar.routes.language.section import (
    Complaint,
    Form,
    NotEmpty,
    Refused,
    Section,
    keys_of,
    nearest,
    shown,
    string_in,
)


def _even(value: object) -> int:
    if not isinstance(value, int) or value % 2:
        raise ValueError(f"is {shown(value)}; write an even number")
    return value


Even = Annotated[int, Form(_even, {"type": "integer"})]


class Leaf(Section, frozen=True, kw_only=True):
    """A section within the other."""

    number: Even
    word: Literal["one", "two", "three"] = "one"


class Tree(Section, frozen=True, kw_only=True):
    """Every kind of annotation once."""

    leaf: Leaf = Leaf(number=2)
    maybe: Even | None = None
    flag: bool = False
    numbers: list[Even] = []  # noqa: RUF012  msgspec gives each section a list of its own
    leaves: Annotated[dict[Even, Leaf], NotEmpty()]
    anything: Any = None


ENOUGH = {2: {"number": 4}}


def complaints(data: object) -> tuple[Complaint, ...]:
    """What is said of this tree."""
    with pytest.raises(Refused) as refusal:
        Tree.read(data)
    return refusal.value.complaints


def test_data_becomes_a_section() -> None:
    """Forms read the values, and missing keys get their defaults."""
    data = {
        "leaf": {"number": 0, "word": "two"},
        "maybe": 8,
        "flag": True,
        "numbers": [2, 4],
        "leaves": ENOUGH,
        "anything": [{}],
    }
    leaves = {2: Leaf(number=4, word="one")}
    assert Tree.read(data) == Tree(
        leaf=Leaf(number=0, word="two"), maybe=8, flag=True, numbers=[2, 4], leaves=leaves, anything=[{}]
    )
    assert Tree.read({"leaves": ENOUGH}) == Tree(leaves=leaves)


def test_all_problems_are_reported_at_once() -> None:
    """At any depth, each with its path."""
    wrong = {
        "leaf": {"word": "on"},
        "maybe": 1,
        "flag": "yes",
        "numbers": [2, 3],
        "leaves": {1: {"number": 5}, 2: []},
        "leafs": {},
    }
    assert set(complaints(wrong)) == {
        (("leafs",), f"is an unknown key (did you mean 'leaf'?); allowed here: {', '.join(keys_of(Tree))}"),
        (("leaf", "number"), "is missing; it is required"),
        (("leaf", "word"), "is 'on' (did you mean 'one'?); allowed: one, two or three"),
        (("maybe",), "is 1; write an even number"),
        (("flag",), "is 'yes'; it must be true or false"),
        (("numbers", 1), "is 3; write an even number"),
        (("leaves", 1), "is 1; write an even number"),
        (("leaves", 1, "number"), "is 5; write an even number"),
        (("leaves", 2), "is []; it must be a mapping (key: value)"),
    }


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(None, ((), "is empty; it must be a mapping (key: value)"), id="nothing is no section"),
        pytest.param({}, (("leaves",), "is missing; it is required"), id="missing"),
        pytest.param({"leaves": {}}, (("leaves",), "is empty; it needs at least one entry"), id="empty"),
        pytest.param(
            {"leaves": ENOUGH, "maybe": None},
            (("maybe",), "is empty; write a value, in quotes if it begins with #, or remove the key"),
            id="a key without a value",
        ),
        pytest.param(
            {"leaves": ENOUGH, "word": "two"},
            (("word",), "is an unknown key here; it belongs in leaf: write leaf: {word: ...}"),
            id="a key outside its section",
        ),
        pytest.param(
            {"leaves": ENOUGH, "xyz": 1},
            (("xyz",), f"is an unknown key; allowed here: {', '.join(keys_of(Tree))}"),
            id="a key like no other",
        ),
        pytest.param({"leaves": []}, (("leaves",), "is []; it must be a mapping (key: value)"), id="empty and wrong"),
        pytest.param(
            {"leaves": None}, (("leaves",), "is empty; it must be a mapping (key: value)"), id="nothing is no mapping"
        ),
        pytest.param(
            {"leaves": ENOUGH, "numbers": "2"},
            (("numbers",), "is '2'; it must be a list (each entry after a dash and a space, or in brackets)"),
            id="no list",
        ),
        pytest.param(
            {"leaves": ENOUGH, "flag": 1}, (("flag",), "is 1; it must be true or false"), id="one is not true"
        ),
        pytest.param(
            {"leaves": {2: {"number": 2, "word": ["one"]}}},
            (("leaves", 2, "word"), "is ['one'] (did you mean 'one'?); allowed: one, two or three"),
            id="a list around it",
        ),
    ],
)
def test_each_mistake_has_its_message(data: object, expected: Complaint) -> None:
    """With the value found and what is allowed."""
    assert complaints(data) == (expected,)


def test_a_refusal_can_be_read() -> None:
    """Without a file, as in a test, the exception has the problems."""
    with pytest.raises(Refused, match=r"^leaves\.2\.number is 1; write an even number$"):
        Tree.read({"leaves": {2: {"number": 1}}})


def test_sections_share_no_mutable_defaults() -> None:
    """Each section has its own default list."""
    assert Tree.read({"leaves": ENOUGH}).numbers is not Tree.read({"leaves": ENOUGH}).numbers


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(True, "true", id="true"),
        pytest.param(False, "false", id="false"),
        pytest.param(None, "empty", id="nothing"),
        pytest.param(1, "1", id="one is not true"),
        pytest.param(0, "0", id="zero is not false"),
        pytest.param("yes", "'yes'", id="text"),
        pytest.param(["a"], "['a']", id="list"),
        pytest.param("x" * 58, f"'{'x' * 58}'", id="just short enough"),
        pytest.param("x" * 59, f"'{'x' * 56}...", id="long"),
    ],
)
def test_a_value_is_quoted_in_yaml_syntax(value: object, words: str) -> None:
    """As in the file, but shortened."""
    assert shown(value) == words


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "is the number 5; put it in quotes"),
        (True, "is true: YAML reads bare yes, no, on, off, true, false as a boolean; put it in quotes"),
        (None, "is empty; write a value, in quotes if it begins with #, or remove the key"),
        (["a"], "is ['a']; write one string"),
        ({"a": "b"}, "is a mapping, which is what { opens in YAML; write a string, in quotes if it has braces"),
        (dt.date(2026, 1, 2), "is the date 2026-01-02; put it in quotes"),
        ("a\ud83d", "has '\\ud83d', half of a surrogate pair; write the character itself"),
        (b"a", "is the value b'a'; put it in quotes"),
    ],
)
def test_what_is_not_a_string_is_refused_with_a_fix(value: object, message: str) -> None:
    """The message has the value and how to write it as a string; a string is taken as it is."""
    with pytest.raises(ValueError, match=r".") as refusal:
        string_in(value)
    assert str(refusal.value) == message
    assert string_in(message) == message


@pytest.mark.parametrize(
    ("found", "words"),
    [("evnt", " (did you mean 'event'?)"), ("streem", " (did you mean 'stream'?)"), ("labels", ""), ("", "")],
)
def test_a_typo_gets_a_suggestion(found: str, words: str) -> None:
    """Only if a key is similar."""
    assert nearest(found, ["event", "stream"]) == words
