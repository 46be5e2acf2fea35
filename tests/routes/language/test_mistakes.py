"""Promises of `mistakes`: someone new to YAML reads where a mistake begins, its cause and the fix."""

from __future__ import annotations

import pytest

from sidecar.routes.language.marks import read

FILE = """\
version: 1
upstreams:
  staging:
    url: "https://staging.svc.{datacenter}.wmnet/v1/events"
    datacenters: [eqiad, codfw]
routes:
  - name: scores
    match:
      labels: {env: staging}
      stream: "score_*"
    to: staging
  - name: rest
    reject: not today
"""
COMMA = "has a comma after a value in quotes; put a list in brackets: [a, b]"
SAME_COLUMN = "keys that belong together start in the same column"


def sign(character: str, means: str, value: str) -> str:
    """The words for a value that begins with a sign of YAML's."""
    return f'a value that begins with {character} is {means} to YAML; put it in quotes: "{value}"'


@pytest.mark.parametrize(
    ("right", "wrong", "place", "words"),
    [
        ('"score_*"', "*", "10:15", sign("*", "an alias", "*")),
        (
            '"score_*"',
            "*_score",
            "10:15",
            sign("*", "an alias", "*_score"),
        ),
        ('"score_*"', "[a, *, b]", "10:19", sign("*", "an alias", "*")),
        ('"score_*"', "&a.b", "10:15", sign("&", "an anchor", "&a.b")),
        ('"score_*"', "!a*", "10:15", sign("!", "a type", "!a*")),
        ('"score_*"', "@a", "10:15", "a value cannot begin with @ in YAML; put it in quotes"),
        (
            '"score_*"',
            '"score_*',
            "10:15",
            'the quote that opens here is not closed; put " after the value',
        ),
        (
            '{datacenter}.wmnet/v1/events"',
            "{datacenter}.wmnet/v1/events",
            "4:10",
            'the quote that opens here is not closed; put " after the value',
        ),
        ('"score_*"', "'score_*", "10:15", "the quote that opens here is not closed; put ' after the value"),
        (
            '"score_*"',
            '"/score\\..*/"',
            "10:22",
            r"in double quotes \. is an escape, and not one of YAML's; put the value in single quotes",
        ),
        ('"score_*"', '"score"_x', "10:15", 'has more text after "; put the whole value in quotes'),
        ("to: staging", "stream: {stream}.x", "11:13", "has more text after }; put the whole value in quotes"),
        ("codfw]", "codfw", "5:18", "the [ that opens here is not closed; put ] after its last value"),
        ("staging}", "staging", "9:15", "the { that opens here is not closed; put } after its last value"),
        ("codfw]", "codfw}", "5:18", "the [ that opens here is not closed; put ] after its last value"),
        ("codfw]", "codfw]]", "5:32", "this ] closes nothing; remove it, or put the value in quotes"),
        ("eqiad, codfw", '"eqiad" codfw', "5:27", "a value, a comma or ] is missing before this"),
        (
            "[eqiad, codfw]",
            '"eqiad", codfw',
            "5:18",
            COMMA,
        ),
        (
            "not today",
            "not now: later",
            "13:13",
            "has a colon and a space in it, so YAML reads a second key; put the value in quotes",
        ),
        ("    to: s", "\tto: s", "11:1", "a tab is not allowed here; YAML indents with spaces: replace it with spaces"),
        (
            "  - name: rest",
            "  name: rest",
            "12:3",
            "begins below the dash of line 7; write a dash and a space before it",
        ),
        ("      stream", "        stream", "10:9", f"is indented by 8 spaces, but line 9 has 6; {SAME_COLUMN}"),
        (
            "      stream",
            "     stream",
            "10:6",
            f"is indented by 5 spaces, but line 9 has 6 and line 8 has 4; {SAME_COLUMN}",
        ),
        (
            "  - name: rest",
            "    - name: rest",
            "12:5",
            "is indented by 4 spaces, but line 7 has 2; entries of one list start in the same column",
        ),
        (
            "  - name: scores",
            "  scores:",
            "12:3",
            "begins a list entry among keys; write a dash before every entry, or before none",
        ),
        ("- name: rest", "-name: rest", "12:3", "has no space after the dash; write - and a space before the value"),
        ("to: staging", "to:staging", "11:5", "has no space after the colon; write to: and then the value"),
        (
            "to: staging",
            "to = staging",
            "11:5",
            "is not a key and its value; write KEY: VALUE, with a space after the colon",
        ),
        ("version: 1", "version:1", "1:1", "has no space after the colon; write version: and then the value"),
        (
            "to: staging",
            "<<: *staging",
            "11:5",
            "the key << copies keys from elsewhere, which hides them here; write the keys out",
        ),
        (
            "routes:",
            "---\nroutes:",
            "6:1",
            "begins a second document, and a configuration is one; remove this line",
        ),
        (
            "to: staging",
            "reject: |\n   x",
            "12:4",
            "is not a key and its value; write KEY: VALUE, with a space after the colon",
        ),
        (
            "reject: not today",
            "not today: this: stream",
            "13:16",
            "has a colon and a space in it, so YAML reads a second key; put the value in quotes",
        ),
        (
            "not today",
            ">x\n      not today",
            "13:14",
            "is not YAML: while scanning a block scalar, expected chomping or indentation indicators, but found 'x'",
        ),
    ],
)
def test_a_mistake_is_reported_where_it_begins(right: str, wrong: str, place: str, words: str) -> None:
    """With one message, or the parser's own if it is unknown."""
    text = FILE.replace(right, wrong, 1)
    assert text != FILE
    assert [(f"{mark.line}:{mark.column}", said) for mark, _, said in read(text).complaints] == [(place, words)]
