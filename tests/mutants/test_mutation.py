"""What is changed in a source, and what is not."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import accepted
from tests.mutants.modules import ROOT, eligible, own_tests
from tests.mutants.mutation import LONGEST_EXCERPT, mutants


def changes(source: str) -> set[str]:
    """Return the shown part after each change."""
    return {mutant.changed for mutant in mutants("m", source)}


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("x = a is None", {"x = a is not None"}),
        ("x = a + b", {"x = a - b"}),
        ("x = a and b", {"x = a or b", "x = a", "x = b"}),
        ("x = not a", {"x = a"}),
        ("x = 8", {"x = 9", "x = 7"}),
        ("x = True", {"x = False"}),
        ("x = a == 'b'", {"x = a != 'b'", "x = a == 'bXX'"}),
        ("x = f(a, b)", {"x = f(b, a)"}),
        ("x = f(a, key=b)", {"x = f(a)"}),
        ("x = min(a)", {"x = max(a)"}),
        ("x = a if b else c", {"x = c if b else a", "x = a if not b else c"}),
        ("f()", {"pass"}),
        ("a.b = c", {"pass"}),
        ("a.b += c", {"pass", "a.b -= c"}),
        ("raise E", {"pass"}),
        ("def f():\n    return a", {"return None"}),
        ("for a in b:\n    break", {"pass", "continue"}),
        ("if a:\n    b = c", {"if False:", "if True:", "if not a:"}),
        ("with a:\n    b = c", {"if True:"}),
        ("try:\n    a = b\nexcept E:\n    a = c", {"except E: raise"}),
    ],
)
def test_each_kind_of_change_is_made(source: str, changed: set[str]) -> None:
    """Comparison, boundary, constant, operand, argument, condition, and a removed statement."""
    assert changes(source) == changed


@pytest.mark.parametrize(
    "source",
    [
        '"""Words."""',
        "def f(a: 'A') -> 'B': ...",
        "Alias = Left | Right",
        "if TYPE_CHECKING:\n    a = 1",
        "x = cast(int, y)",
        "x = f'{a + 1} words'",
        "x = 'words'",
        "x = zip(a, strict=True)",
        "__slots__ = ('a', 'b')",
    ],
)
def test_docstrings_types_and_wording_stay(source: str) -> None:
    """No test can notice a change of them."""
    assert changes(source) == set()


def test_the_key_of_a_change_does_not_depend_on_its_line() -> None:
    """The same change has the same key after lines were added above it. It names the function."""
    source = "class A:\n    def f(self):\n        return self.x < 1\n"
    first, moved = list(mutants("m", source)), list(mutants("m", "import a\n\n" + source))
    assert [each.key for each in first] == [each.key for each in moved]
    assert str(first[0]) == "m:3 A.f: `return self.x < 1` -> `return None`"


def test_the_source_is_changed_in_that_place_only() -> None:
    """The rest of the module stays the same, except for comments."""
    source = "A = 1  # why\nB = 1\n"
    assert [each.source for each in mutants("m", source)] == [
        "A = 2\nB = 1\n", "A = 0\nB = 1\n", "A = 1\nB = 2\n", "A = 1\nB = 0\n",
    ]  # fmt: skip


def test_a_long_statement_is_shown_in_part() -> None:
    """A table of a hundred lines is not repeated for each changed number."""
    source = "TABLE = {" + ", ".join(f"'k{number}': {number} + a" for number in range(99)) + "}"
    assert max(len(each.original) for each in mutants("m", source)) <= LONGEST_EXCERPT


def test_every_change_of_a_real_module_can_be_compiled() -> None:
    """A syntax error would count as noticed."""
    path = ROOT / "sidecar" / "timers.py"
    source = path.read_text()
    for mutant in list(mutants("m", source)):
        compile(mutant.source, path, "exec", dont_inherit=True)


def test_every_module_that_is_changed_has_tests() -> None:
    """At least the file named after it."""
    assert [name for name, path in eligible().items() if not own_tests(path)] == []


def test_an_accepted_survivor_has_a_reason() -> None:
    """`make mutants` reports entries that no longer exist; here each must say why it is accepted."""
    assert all(accepted().values())
