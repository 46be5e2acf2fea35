"""Promises of `loader`: a wrong `routes.yaml` is refused with all problems, in the operator's terms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ConfigError, Problem
from sidecar.routes.inspection import inspect
from sidecar.routes.language.loader import read
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
    coalesce: {max_events: 10, linger: 5ms}}
routes:
  - {name: a, match: {labels: {env: staging}, stream: ["/^a(b)/", "c*"], event: {page.id: "1"}}, to: main,
    stream: "{stream}.rc0"}
  - {name: b, match: {schema: x}, reject: not today}
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
        ("health_check: {timeout: 3s, interval: 3s}", []),
        ("health_check: {timeout: 3s, interval: 2s}", ["health_check.timeout"]),
    ],
)
def test_times_must_fit_into_each_other(settings: str, found: list[str]) -> None:
    """Equal ones do; the complaint names the key."""
    text = SMALL.replace("    url:", f"    {settings}\n    url:")
    assert [each.path for each in problems_in(text)] == [f"upstreams.production.{name}" for name in found]
