"""Edits are placed by the text around them."""

from __future__ import annotations

import pytest

from tests.helm.edits import Edit, Unknown, edited

TEXT = "a: 1\n  b: 2\n  c: 3\n"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Edit(("b:",), "  new\n"), "a: 1\n  new\n  c: 3\n"),
        (Edit(("b:", "c:"), "  new\n"), "a: 1\n  new\n"),
        (Edit(("a: 1", "b:"), "  new\n", "after"), "a: 1\n  b: 2\n  new\n  c: 3\n"),
        (Edit(("a",), "new\n", "before"), "new\na: 1\n  b: 2\n  c: 3\n"),
    ],
)
def test_an_edit_is_made_once(edit: Edit, expected: str) -> None:
    """Lines are replaced or inserted; a second run changes nothing."""
    assert edited(TEXT, [edit]) == expected
    assert edited(expected, [edit]) == expected


@pytest.mark.parametrize(("at", "times"), [(("x",), 0), (("b:", "a"), 0), ((":",), 3)])
def test_an_ambiguous_place_is_refused(at: tuple[str, ...], times: int) -> None:
    """Text that others have changed is not edited by guess."""
    with pytest.raises(Unknown, match=f"^text: {times} places have "):
        edited(TEXT, [Edit(at, "new\n")])
