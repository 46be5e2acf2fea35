"""Promises of `loader`: a wrong `routes.yaml` is refused with all problems, in the operator's terms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ConfigError, Problem
from sidecar.routes.inspection import inspect
from sidecar.routes.language.config import Route
from sidecar.routes.language.loader import read
from sidecar.routes.language.section import keys_of
from tests.jsontext import unhurried

BAD = sorted((Path(__file__).parents[2] / "data" / "bad_routes").glob("*.yaml"))

SMALL = """\
version: 1
upstreams:
  production:
    url: https://eventgate-main.discovery.wmnet:4492/v1/events
routes:
  - name: everything
    to: production
"""
FULL = """\
version: 1
upstreams:
  main: {url: "http://eventgate.{datacenter}.wmnet/v1/events", datacenters: [eqiad, codfw],
    accepts: [{stream: "*.rc0"}], timeouts: {connect: 500ms, deadline: 4s}, health_check: {path: /_info},
    coalesce: {max_events: 10, linger: 2s}, outlier: {percent: 100}}
routes:
  - {name: a, match: {labels: {env: staging}, stream: ["/^a(b)/", "c*"], event: {page.id: "1"}}, to: main,
    stream: "{stream}.rc0"}
  - {name: b, match: {schema: x}, reject: not today}
  - {name: m, match: {stream: m}, to: main, mirror: {to: main, stream: m.rc0, percent: 100}}
  - {name: c, to: main, order_by: [wiki_id], acknowledge: spooled}
tests:
  - {name: t, labels: {env: staging}, event: {meta: {stream: c.rc0}}, expect: {upstream: main, refused: false}}
"""


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_mistake_is_reported_at_its_place(path: Path) -> None:
    """All mistakes at once, in the order of the file; the report is exactly the text beside it."""
    with pytest.raises(ConfigError) as refusal:
        read(path.read_text(encoding="utf-8"))
    assert f"{refusal.value}\n" == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_a_file_is_called_by_its_name() -> None:
    """Messages name the file that was read."""
    with pytest.raises(ConfigError, match=r"^staging\.yaml:1:1: is empty; it needs version, upstreams and routes\n"):
        read("", "staging.yaml")


@pytest.mark.parametrize("text", [SMALL, SMALL.replace("\n", "\r\n"), "\ufeff" + SMALL], ids=["LF", "CRLF", "BOM"])
def test_a_small_file_is_a_configuration(text: str) -> None:
    """A version, an upstream and a route are enough, whatever editor wrote them."""
    config = read(text)
    assert list(config.upstreams) == ["production"]
    assert [(route.name, route.to) for route in config.routes] == [("everything", "production")]
    assert config.tests == []


def test_values_may_be_at_their_limits() -> None:
    """Such as 100 %, half of the deadline, and a mirror under another name."""
    assert problems_in(FULL) == ()


def problems_in(text: str) -> tuple[Problem, ...]:
    """What is said of a text, nothing where it is a configuration."""
    try:
        read(text)
    except ConfigError as error:
        return error.problems
    return ()


@unhurried
@given(st.integers(0, len(SMALL) - 1), st.text(max_size=6))
def test_any_edit_is_a_configuration_or_problems(place: int, text: str) -> None:
    """Whatever is typed into a file, it is read, or refused with problems that have lines."""
    edited = SMALL[:place] + text + SMALL[place:]
    assert all(problem.line <= len(edited.splitlines()) + 1 for problem in problems_in(edited))


WORDS = st.one_of(
    st.sampled_from("[]{}:-,?|>&*!#%~'\"\n "),
    st.sampled_from(
        ["\n  ", "\n    - ", ": ", "- ", "&a ", "*a", "<<: ", "!!set ", "!!python/name:os", "\t", "é", "null"]
    ),
    st.sampled_from(["version: 1", "upstreams:", "routes:", "tests:", "main", "url", "name", "match", "stream", "to"]),
    st.sampled_from(["labels", "event", "meta", "expect", "timeouts", "1s", "{stream}", "/a(b)/", "http://x/v1"]),
)


@unhurried
@given(st.sampled_from([SMALL, FULL]), st.integers(0), st.integers(0, 40), st.lists(WORDS, max_size=12).map("".join))
def test_any_yaml_is_a_configuration_or_problems(whole: str, begin: int, length: int, text: str) -> None:
    """Any YAML in any place is read, or every problem has a message of ours."""
    begin %= len(whole) + 1
    edited = whole[:begin] + text + whole[begin + length :]
    for problem in inspect(edited).problems:
        assert problem.message[0].islower()  # it goes on from the path before it
        assert not re.search(r"Input should|recursion|object at|Error\b", problem.message)
        assert (problem.line, problem.column) >= (1, 1)


@unhurried
@given(st.data())
def test_any_misplaced_value_is_refused_in_words(data: st.DataObject) -> None:
    """A value of any kind in any place is taken, or refused like any other mistake."""
    lines = SMALL.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    key = lines[at].partition(":")[0]
    value = data.draw(
        st.sampled_from(["", "~", "yes", "7", "1.5", "[]", "[a]", "{}", "{a: b}", "''", "2026-01-01", "a"])
    )
    keep = [line for line in lines[at + 1 :] if len(line) - len(line.lstrip(" -")) <= len(key) - len(key.lstrip(" -"))]
    text = "\n".join([*lines[:at], f"{key}: {value}", *keep])
    for problem in problems_in(text):
        assert problem.message.startswith(("is ", "has ", "must ", "contains "))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ("timeouts: {connect: 1s, attempt: 1s, deadline: 1s}", []),
        ("timeouts: {connect: 1s, attempt: 1.5s, deadline: 1s}", ["timeouts"]),
        ("timeouts: {deadline: 4.5s}", []),
        ("timeouts: {deadline: 4.6s}", ["timeouts.deadline"]),
        ("coalesce: {linger: 2s}", []),
        ("coalesce: {linger: 2100ms}", ["coalesce.linger"]),
        ("health_check: {timeout: 3s, interval: 3s}", []),
        ("health_check: {timeout: 3s, interval: 2s}", ["health_check.timeout"]),
    ],
)
def test_times_must_fit_into_each_other(settings: str, found: list[str]) -> None:
    """Equal ones do; the complaint names the key."""
    text = SMALL.replace("    url:", f"    {settings}\n    url:")
    assert [each.path for each in problems_in(text)] == [f"upstreams.production.{name}" for name in found]


ROUTES = """\
version: 1
upstreams:
  production: {url: "http://production.wmnet/v1/events"}
  staging: {url: "http://staging.wmnet/v1/events", accepts: [{labels: {env: staging}}]}
routes:
  - {name: scores, match: {labels: {env: staging}, stream: "score_*"}, to: production, stream: score-test}
  - {name: labelled, match: {stream: labelled}, to: production, stream: "{stream}.{labels.isvc}"}
  - {name: never, match: {stream: never}, reject: not today}
  - {name: rest, match: {stream: "*"}, to: staging}
"""
BOOLEAN = "is false: YAML reads bare yes, no, on, off, true, false as a boolean; put it in quotes"


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (
            "{stream: never}, reject: not today",
            "{stream: never}",
            "8:5: routes[2] has neither to nor reject; "
            "add to with an upstream (production, staging), or reject with a reason",
        ),
        (
            "to: staging}",
            "To: staging}",
            "9:40: routes[3].To is an unknown key MEANT; allowed here: KEYS",
        ),
        ("to: staging}", "to: staging, reject: x}", "9:53: routes[3].reject is given beside to; keep one of them"),
        (
            "reject: not today",
            "reject: #9",
            "8:43: routes[2].reject is empty; write a value, in quotes if it begins with #, or remove the key",
        ),
        ("//staging.", "//${HOST}.", "4:13: upstreams.staging.url has ${HOST}; ONLY"),
        ("//staging.", "//{dc}.", "4:13: upstreams.staging.url has {dc}; ONLY"),
        ("name: rest", "name: no", f"9:6: routes[3].name {BOOLEAN}"),
        (
            '"{stream}.{labels.isvc}"',
            "{stream}",
            "7:65: routes[1].stream is a mapping, which is what { opens in YAML; "
            "write a string, in quotes if it has braces",
        ),
        ('"score_*"', '"^score_.*"', "6:52: routes[0].match.stream has '^', which no stream name contains; SLASHES"),
        (
            '"score_*"',
            "“score_*”",
            "6:52: routes[0].match.stream has '“', which no stream name contains; "
            'put the name in straight quotes: "…"',
        ),
        ('"score_*"', "null", "6:52: routes[0].match.stream is empty; EMPTY"),
        ("accepts: [{labels: {env: staging}}]", "accepts: {}", "4:52: upstreams.staging.accepts is {}; LIST"),
    ],
)
def test_a_usual_mistake_is_one_problem(right: str, wrong: str, words: str) -> None:
    """Someone new to the file reads its place, cause and fix, and nothing else."""
    short = {
        "MEANT": "(did you mean 'to'?)",
        "KEYS": ", ".join(keys_of(Route)),
        "ONLY": "the only placeholder is {datacenter}, for each of datacenters",
        "SLASHES": "write a regular expression as /…/",
        "EMPTY": "write a value, in quotes if it begins with #, or remove the key",
        "LIST": "it must be a list (each entry after a dash and a space, or in brackets)",
    }
    for word, long in short.items():
        words = words.replace(word, long)
    text = ROUTES.replace(right, wrong.replace("#9", "#9\n    "), 1)
    assert [str(each).split("\n")[0] for each in problems_in(text)] == [f"routes.yaml:{words}"]
