"""Promises of `audit`: routes without effect are found, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.events.event import parse
from sidecar.routes import audit
from sidecar.routes.audit import covers, disjoint
from sidecar.routes.inspection import inspect
from sidecar.routes.language.config import Config
from sidecar.routes.language.loader import read
from sidecar.routes.language.pattern import Pattern
from sidecar.routes.routing import Router
from tests.jsontext import unhurried

DATA = Path(__file__).parent.parent / "data"
FILES = sorted(path for folder in ("idle_routes", "warned_routes") for path in (DATA / folder).glob("*.yaml"))

UPSTREAMS = """\
version: 1
upstreams:
  production:
    url: https://eventgate-main.discovery.wmnet:4492/v1/events
    accepts: [{labels: {env: production}}, {stream: test}]
  staging: {url: "https://staging.svc.eqiad.wmnet:4492/v1/events"}
routes:
"""


def config(*routes: str) -> Config:
    """Return a configuration of these routes, each named by its place."""
    return read(UPSTREAMS + "".join(f"  - {{name: r{index}, {route}}}\n" for index, route in enumerate(routes)))


def mistaken(*routes: str) -> list[int]:
    """Which of these routes are said to be without effect."""
    return [int(path[1]) for path, _ in audit.mistakes(config(*routes))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_has_no_effect_is_reported_at_its_place(path: Path) -> None:
    """As a mistake or as a warning; the report is exactly the text beside the file."""
    found = inspect(path.read_text(encoding="utf-8"))
    report = "".join(f"{each}\n" for each in (*found.problems, *found.warnings))
    assert report == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        (("to: staging", "to: staging"), [1]),
        (("match: {stream: a}, to: staging", "to: staging"), []),
        (("match: {stream: 'a*'}, to: staging", "match: {stream: [ab, ac]}, to: staging"), [1]),
        (("match: {stream: 'a*'}, to: staging", "match: {stream: [ab, b]}, to: staging"), []),
        (("match: {labels: {env: a}}, to: staging", "match: {stream: b}, to: staging"), []),
        (("match: {labels: {env: a}}, to: staging", "match: {labels: {env: a, isvc: b}}, to: staging"), [1]),
        (("match: {event: {a.b: x}}, to: staging", "match: {event: {a.b: x}, schema: s}, to: staging"), [1]),
        (("match: {schema: s}, to: staging", "match: {event: {$schema: s}}, to: staging"), []),
        (
            (
                "match: {stream: a}, to: staging",
                "match: {stream: b}, reject: never",
                "match: {stream: [a, b], schema: s}, to: staging",
            ),
            [2],
        ),
        (
            (
                "match: {stream: a, labels: {env: x}}, to: staging",
                "match: {stream: b, labels: {env: [x, y]}}, to: staging",
                "match: {stream: [a, b], labels: {env: [x, y]}}, to: staging",
            ),
            [],
        ),
    ],
)
def test_an_unreachable_route_is_found(routes: tuple[str, ...], found: list[int]) -> None:
    """One earlier route, or several together, may leave nothing for it."""
    assert mistaken(*routes) == found


@pytest.mark.parametrize(
    ("route", "found"),
    [
        ("match: {labels: {env: staging}, stream: score}, to: production", [0]),
        ("match: {labels: {env: staging}, stream: score}, to: production, stream: test", []),
        ("match: {labels: {env: staging}, stream: score}, to: production, stream: other", [0]),
        ("match: {labels: {env: staging}, stream: score}, to: production, stream: '{stream}.x'", []),
        ("match: {labels: {env: staging}}, to: production", []),
        ("match: {labels: {env: 'prod*'}}, to: production", []),
        ("match: {labels: {env: staging}, stream: score}, to: staging", []),
        ("match: {labels: {env: staging}, stream: score}, reject: never", []),
        ("match: {labels: {env: staging}, stream: score}, to: staging, mirror: {to: production}", [0]),
        ("match: {labels: {env: staging}, stream: score}, to: staging, mirror: {to: production, stream: test}", []),
    ],
)
def test_a_route_that_is_never_accepted_is_found(route: str, found: list[int]) -> None:
    """`accepts` is compared with the event after renaming."""
    assert mistaken(route) == found


def test_too_many_combinations_are_compared_as_a_whole() -> None:
    """A route with long lists stays cheap, and is still found below one that takes everything."""
    lists = "{" + ", ".join(f"l{n}: [{', '.join(f'v{m}' for m in range(10))}]" for n in range(6)) + "}"
    assert mistaken(f"match: {{labels: {lists}}}, to: staging", f"match: {{labels: {lists}}}, to: staging") == [1]


def test_the_later_of_two_equal_entries_is_redundant() -> None:
    """Only one is reported, so that one stays."""
    text = UPSTREAMS.replace("{stream: test}]", "{stream: test}, {stream: test}]")
    found = audit.warnings(read(text + "  - {name: a, to: production}\n  - {name: b, match: {stream: x}, to: staging}"))
    assert [path for path, _ in found] == [("upstreams", "production", "accepts", 2)]


LABELLED = """\
version: 1
upstreams:
  production: {url: "http://production.wmnet/v1/events"}
  staging: {url: "http://staging.wmnet/v1/events", accepts: [{labels: {env: staging}}]}
routes:
  - {name: scores, match: {labels: {env: one}, stream: "score_*"}, to: production}
  - {name: rest, to: staging}
tests:
  - {name: t, labels: {env: staging, isvc: enwiki-damaging}, event: {meta: {stream: b}}, expect: {upstream: staging}}
"""


LABELS = ("routes", 0, "match", "labels")
REGEX = "looks like a regular expression without slashes; write /…/ if it is one"
LABEL = "may be misspelt; elsewhere the label is env"


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("env: one", "enviroment: staging", ((*LABELS, "enviroment"), LABEL)),
        ("env: one", "evn: staging", ((*LABELS, "evn"), LABEL)),
        ("env: one", "en: staging", None),
        ("env: one", "env2: staging", None),
        ("env: one", "env: stagign", ((*LABELS, "env"), "has stagign, which may be misspelt; elsewhere it is staging")),
        (
            "env: one",
            "env: prodution",
            ((*LABELS, "env"), "has prodution, which may be misspelt; elsewhere it is production"),
        ),
        ("env: one", "env: Staging", ((*LABELS, "env"), "has Staging, which may be misspelt; elsewhere it is staging")),
        (
            "env: one",
            "isvc: enwiki-damging",
            ((*LABELS, "isvc"), "has enwiki-damging, which may be misspelt; elsewhere it is enwiki-damaging"),
        ),
        ("env: one", "env: dev", None),
        ("env: one", "isvc: ruwiki-damaging", None),
        ("env: one", "env: ^staging$", ((*LABELS, "env"), REGEX)),
        ("env: one", "env: [dev, ^staging$]", ((*LABELS, "env"), REGEX)),
        ("env: one", "env: /^staging$/", None),
        ("env: one}", "env: one}, event: {page.id: ^1$}", (("routes", 0, "match", "event", "page.id"), REGEX)),
        (
            "{env: staging}}]",
            "{env: staging}}, {labels: {env: ^x$}}]",
            (("upstreams", "staging", "accepts", 1, "labels", "env"), REGEX),
        ),
        ("env: staging, isvc", "evn: x, isvc", (("tests", 0, "labels", "evn"), "may be misspelt; the rules have env")),
        (
            "env: staging, isvc",
            "environment: x, isvc",
            (("tests", 0, "labels", "environment"), "may be misspelt; the rules have env"),
        ),
    ],
)
def test_a_word_close_to_a_known_one_is_a_warning(right: str, wrong: str, found: tuple[object, str] | None) -> None:
    """Labels and values of tests count as right; wikis with similar names do not. So is an expression that is none."""
    text = LABELLED.replace(right, wrong, 1)
    assert text != LABELLED
    assert list(audit.warnings(read(text))) == ([found] if found else [])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param(["score", "score", "scroe"], [2], id="two letters swapped"),
        pytest.param(["score", "score", "sxcore"], [2], id="a letter more"),
        pytest.param(["score", "score", "s2core"], [], id="a digit more"),
        pytest.param(["score", "score", "scorex"], [], id="a letter more at the end"),
        pytest.param(["score", "score", "sore"], [2], id="a letter fewer"),
        pytest.param(["score", "scroe"], [], id="as often"),
        pytest.param(["axbc", "axbc", "abc"], [2], id="3 letters"),
        pytest.param(["axb", "axb", "ab"], [], id="2 letters"),
        pytest.param(["a" * 999 + "b"] * 2 + ["a" * 998 + "ba"], [2], id="1000 letters"),
        pytest.param(["a" * 1000 + "b"] * 2 + ["a" * 999 + "ba"], [], id="1001 letters"),
        pytest.param(["score", "score", "scroe", str([f"v{n}" for n in range(998)])], [2], id="1000 values"),
        pytest.param(["score", "score", "scroe", str([f"v{n}" for n in range(999)])], [], id="1001 values"),
    ],
)
def test_the_more_frequent_of_two_values_is_right(values: list[str], found: list[int]) -> None:
    """Words of 3 to 1000 letters are compared, and up to 1000 values of a label."""
    routes = (f"match: {{stream: s{n}, labels: {{l: {value}}}}}, to: staging" for n, value in enumerate(values))
    assert [path[1] for path, words in audit.warnings(config(*routes)) if "misspelt" in words] == found


@pytest.mark.parametrize(("names", "found"), [(512, [2]), (513, [])])
def test_512_combinations_are_compared_one_by_one(names: int, found: list[int]) -> None:
    """Together two routes leave nothing for a third."""
    first, *others = (f"n{number}" for number in range(names))
    lists = ([first], others, [first, *others])
    assert mistaken(*(f"match: {{stream: [{', '.join(each)}]}}, to: staging" for each in lists)) == found


PATTERN = st.sampled_from(["a", "b", "ab", "a*", "*b", "*", "?", "[ab]", "/a/"])
MATCH = st.fixed_dictionaries(
    {},
    optional={
        "stream": st.one_of(PATTERN, st.lists(PATTERN, min_size=1, max_size=3)),
        "schema": PATTERN,
        "labels": st.fixed_dictionaries({}, optional={"env": PATTERN}),
    },
)
NAME = st.sampled_from(["a", "b", "ab", "ba", "c"])


@unhurried
@given(st.lists(MATCH, min_size=1, max_size=4), NAME, NAME, st.one_of(st.none(), NAME))
def test_no_event_takes_a_route_without_effect(
    matches: list[dict[str, object]], stream: str, schema: str, env: str | None
) -> None:
    """For any routes, `check` and the router agree."""
    routes = [{"name": f"r{n}", "match": match, "to": "staging"} for n, match in enumerate(matches)]
    upstreams = {"staging": {"url": "http://s/v1/events"}}
    found = read(json.dumps({"version": 1, "upstreams": upstreams, "routes": routes}))
    (event,) = parse(json.dumps({"$schema": schema, "meta": {"stream": stream}}).encode())
    taken = Router(found, {"env": env} if env else {}).decide(event).route
    assert taken not in {f"r{path[1]}" for path, _ in audit.mistakes(found)}


TEXTS = st.text("ab.", max_size=5)
GLOBS = st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]", "[", "]", "[]"]), min_size=1, max_size=5)
PATTERNS = st.one_of(GLOBS.map("".join), st.sampled_from(["/a/", "/^a/", "/b$/"]))


@pytest.mark.parametrize(
    ("wide", "narrow", "yes"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("mediawiki.*", "mediawiki.score", True),
        ("mediawiki.*", "mediawiki.score_*", True),
        ("mediawiki.score_*", "mediawiki.*", False),
        ("*", "/anything/", True),
        ("*?", "?*", True),
        ("?*", "*", False),
        ("a[bc]", "ab", True),
        ("a[bc]*", "a[bc]d", True),
        ("a[a-c]*", "a[bc]d", True),
        ("a[!x]", "a[bc]", True),
        ("a[bc]", "a[a-c]", False),
        ("a[bc]", "a[!a]", False),
        ("a[bc]", "a[bé]", False),
        ("a?", "a[bc]", True),
        ("a*b*c", "a*bc", True),
        ("/^a/", "abc", True),
        ("/^a/", "/^a/", True),
        ("/^a/", "/^ab/", False),
        ("/^a/", "a*", False),
        (["a", "b*"], ["b1", "a"], True),
        (["a", "b*"], ["b1", "c"], False),
    ],
)
def test_one_pattern_covers_another(wide: object, narrow: object, *, yes: bool) -> None:
    """As an operator would say; for regular expressions only in simple cases."""
    assert covers(Pattern.parse(wide), Pattern.parse(narrow)) is yes


@pytest.mark.parametrize(
    ("one", "other", "yes"),
    [
        ("a", "b", True),
        ("a", "a", False),
        ("staging", "prod*", True),
        ("a*", "b*", True),
        ("*a", "*b", True),
        ("a*", "*a", False),
        ("a[bc]", "a[cd]", False),
        ("a[bc]", "a[de]", True),
        ("a[!a]", "a[!b]", False),
        ("a[bé]", "a[cé]", False),
        ("a?*", "ab*", False),
        ("a[bc]", "ad", True),
        ("/^a/", "b", True),
        ("/^a/", "b*", False),
        (["a", "b"], ["c", "d*"], True),
        ("x" + "[ac]" * 40 + "y", "x" + "*a" * 8 + "*b*y", True),  # the usual search would take hours
        (["a", "b"], ["c", "b*"], False),
    ],
)
def test_two_patterns_have_nothing_in_common(one: object, other: object, *, yes: bool) -> None:
    """In either order; if it is not certain, they may overlap."""
    assert disjoint(Pattern.parse(one), Pattern.parse(other)) is yes
    assert disjoint(Pattern.parse(other), Pattern.parse(one)) is yes


@unhurried
@given(PATTERNS, PATTERNS, TEXTS)
def test_covers_and_disjoint_hold_for_every_text(one: str, other: str, text: str) -> None:
    """The wide pattern matches every text of the narrow one, and disjoint ones share none."""
    a, b = Pattern.parse(one), Pattern.parse(other)
    in_a, in_b = a.groups_in(text) is not None, b.groups_in(text) is not None
    assert not (covers(a, b) and in_b and not in_a)
    assert not (disjoint(a, b) and in_a and in_b)


@unhurried
@given(st.text("ab*?", min_size=1, max_size=6))
def test_a_glob_covers_itself_and_everything_covers_it(glob: str) -> None:
    """However its `*` and `?` are arranged."""
    pattern = Pattern.parse(glob)
    assert covers(pattern, pattern)
    assert covers(Pattern.parse("*"), pattern)
    assert not disjoint(pattern, pattern)
