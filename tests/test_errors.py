"""Promises of `errors`: the tree in its docstring is right, and each error has EventGate's text."""

from __future__ import annotations

import inspect
import re

import pytest

from sidecar import errors
from sidecar.errors import ConfigError, EmptyBody, Problem, RequestError, SidecarError


def drawn() -> dict[str, tuple[str, int | None]]:
    """Return each error of the docstring with its parent and, if given, its status."""
    tree: dict[str, tuple[str, int | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r" {4}([│├└─ ]*)([A-Z]\w+)(?: +(\d{3}))?\b", line)
        if found:
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            tree[found[2]] = (above[depth - 1] if depth else "Exception", int(found[3]) if found[3] else None)
    return tree


def defined() -> dict[str, tuple[str, int | None]]:
    """Return each error of the module with its parent and its status."""
    return {
        name: (
            each.__base__.__name__ if each.__base__ else "",
            each.status if issubclass(each, RequestError) and each is not RequestError else None,
        )
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, SidecarError)
    }


def test_the_drawing_is_the_tree() -> None:
    """It has every error with parent and status, and no others."""
    assert drawn() == defined()


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        pytest.param(errors.EmptyBody(), (400, "internal_error", "EmptyBody"), id="empty"),
        pytest.param(errors.MalformedBody("x"), (500, "internal_error", "SyntaxError"), id="malformed"),
        pytest.param(errors.BodyTooLarge("x"), (500, "internal_error", "PayloadTooLargeError"), id="too large"),
        pytest.param(
            errors.UnsupportedBody("x"),
            (500, "internal_error", "UnsupportedMediaTypeError"),
            id="unsupported",
        ),
        pytest.param(errors.CorruptBody("x"), (500, "internal_error", "Error"), id="corrupt"),
        pytest.param(errors.MalformedRequest("x"), (400, "bad_request", "BadRequest"), id="no HTTP"),
        pytest.param(errors.SlowBody("x"), (408, "timeout", "RequestTimeout"), id="slow"),
        pytest.param(errors.NotFound("x"), (404, "not_found", "NotFound"), id="not found"),
        pytest.param(errors.Overloaded("x"), (503, "overloaded", "ServiceUnavailable"), id="overloaded"),
    ],
)
def test_a_refused_request_has_eventgates_text(error: RequestError, answer: tuple[int, str, str]) -> None:
    """Status, type and title are EventGate's, if EventGate refuses the same."""
    assert (error.status, error.kind, error.title) == answer


def test_an_empty_body_is_refused_with_eventgates_reason() -> None:
    """EventGate answers it only by the reason phrase, so the detail is that phrase."""
    assert EmptyBody().detail == str(EmptyBody()) == "Request body was empty. Must provide JSON encoded events."


def test_the_text_of_a_config_error_has_all_problems() -> None:
    """In the given order."""
    problems = [Problem("r.yaml", line, 1, "", f"is wrong {line}", "a line") for line in (1, 2)]
    error = ConfigError(problems)
    assert error.problems == tuple(problems)
    assert str(error) == (
        "r.yaml:1:1: is wrong 1\n    a line\n    ^\nr.yaml:2:1: is wrong 2\n    a line\n    ^"  # both carets
    )


def test_a_problem_is_shown_like_a_compilers() -> None:
    """Place, path, message, the line and a caret under the column."""
    problem = Problem("a.yaml", 3, 5, "routes[0].to", "is wrong", "    to: b")
    assert str(problem) == "a.yaml:3:5: routes[0].to is wrong\n        to: b\n        ^"


def test_problems_are_sorted_by_their_place() -> None:
    """By line, then by column."""
    found = [Problem("a.yaml", *place, "", "is wrong", "") for place in ((7, 1), (3, 9), (3, 5))]
    assert [each.place() for each in sorted(found, key=Problem.place)] == [(3, 5), (3, 9), (7, 1)]


def test_of_a_long_line_only_the_part_around_the_column_is_shown() -> None:
    """With the caret under the mistake."""
    text = "x" * 500_000 + "HERE" + "y" * 500_000
    _, line, caret = str(Problem("a.yaml", 1, 500_001, "", "is wrong", text)).splitlines()
    assert line[caret.index("^") :].startswith("HERE")
    assert len(line) < 300
