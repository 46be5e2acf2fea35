"""A pattern matches as `new RegExp(pattern)`, or is refused."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from sidecar.demo.emulator.ecmascript import full_matcher, searcher

FINDS = [
    (r"^\d$", ["0", "9"], ["a", "\u0661", "\uff11"]),
    (r"^\D$", ["a", "\u0661", "\n"], ["0"]),
    (r"^\w$", ["a", "Z", "_", "0"], ["\u00e9", "\u03c0", "-"]),
    (r"^\W$", ["\u00e9", "-"], ["a", "_"]),
    (
        r"^\s$",
        [" ", "\n", "\v", "\u00a0", "\u1680", "\u2028", "\u3000", "\ufeff"],
        ["\x1c", "\x85", "\u180e", "\u200b"],
    ),
    (r"^\S$", ["a", "\x1c", "\x85"], [" ", "\u00a0", "\ufeff"]),
    (r"^[\s\d]$", ["1", "\ufeff"], ["a", "\x1c"]),
    (r"^[^\s]$", ["a", "\x85"], ["\u2003"]),
    (r"^.$", ["a", "\u00e9", "\x85"], ["\n", "\r", "\u2028", "\u2029", "\U0001f600"]),
    (r"^..$", ["ab", "\U0001f600"], ["a"]),
    ("^[\U0001f600]$", ["\ud83d"], ["\U0001f600"]),
    (r"^a$", ["a"], ["a\n", "ba"]),
    (r"\bx\b", ["x", "\u00e9x"], ["ax", "x1"]),
    (r"^\u0041\x42$", ["AB"], ["ab"]),
    (r"^[[a&&b|~]$", ["[", "&", "|", "~", "a"], ["c", "&&"]),
    (r"^(?:a|bc){2,3}?$", ["abc", "aaa"], ["a", "aaaa"]),
    (r"a(?=b)(?!bc)", ["ab"], ["abc", "a"]),
    (r"^[\]\-/.]+\/\.$", ["]-/.", "./."], ["a/."]),
    ("", ["", "a"], []),
]


@pytest.mark.parametrize(("pattern", "found", "missed"), FINDS)
def test_a_pattern_matches_as_in_javascript(pattern: str, found: list[str], missed: list[str]) -> None:
    """ASCII digits and letters, Unicode white space, the end of the text, UTF-16 units."""
    finds = searcher(pattern)
    assert [text for text in found + missed if finds(text)] == found


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here, which finds the same")
def test_node_agrees() -> None:
    """On the patterns in this file."""
    code = "const given = JSON.parse(require('fs').readFileSync(0, 'utf8')); console.log(JSON.stringify(given.map(([p, \
texts]) => texts.filter((text) => new RegExp(p).test(text)))))"
    given = json.dumps([(pattern, found + missed) for pattern, found, missed in FINDS])
    said = subprocess.run(
        [shutil.which("node") or "", "-e", code], input=given, capture_output=True, text=True, check=True
    )
    assert json.loads(said.stdout) == [found for _, found, _ in FINDS]


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(",
            ")",
            "[",
            "a**",
            "a*+",
            "{2}",
            "a{2,1}",
            "a{99999999999999999999}",
            "(?i)a",
            "(?<n>a)",
            "(?<=a)b",
            "(?<!a)b",
        ),
        *(r"(a)\1", r"\k<n>", r"\p{L}", r"\cA", r"\0", r"\A", r"\Z", r"\B", r"\a", "\\", "[]", "[^]", r"[\D]", r"[\B]"),
        *("a{,2}", "x{a}", "]", "[a--b]", "[b-a]", r"\x1", r"\u{41}"),
    ],
)
def test_an_unsupported_pattern_is_refused(pattern: str) -> None:
    """If `re` would read it in another way, or not at all."""
    with pytest.raises(ValueError, match=r"unsupported|not a regular expression"):
        searcher(pattern)


def test_a_format_matches_the_whole_text() -> None:
    """Without a trailing line break."""
    matches = full_matcher(r"\d+")
    assert [text for text in ("1", "12", "1\n", "a1", "") if matches(text)] == ["1", "12"]
