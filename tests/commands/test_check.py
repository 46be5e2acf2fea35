"""Promises of `check`: findings in the order of the file, for editors and people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.commands.check import as_data, in_text
from sidecar.routes.inspection import inspect
from tests.commands.conftest import ROUTES, run
from tests.routes.language.test_loader import SMALL

WRONG_TEST = """\
  - name: this is not so
    labels: {env: staging}
    event: {meta: {stream: links}}
    expect: {stream: other, route: rename}
"""
UNUSED = SMALL.replace("routes:", "  spare:\n    url: http://spare/v1/events\nroutes:")


def test_problems_and_warnings_are_in_the_order_of_the_file() -> None:
    """Each with its line and a caret, then their numbers; a refused file has no table."""
    found = inspect(UNUSED + "  - name: late\n    to: production\n")
    assert in_text(found, "r.yaml") == (
        "routes.yaml:5:3: warning: upstreams.spare is not used by any route; remove it, or add a route to it\n"
        "      spare:\n"
        "      ^\n"
        "routes.yaml:10:5: routes[1] is never reached: routes[0] (everything) takes every event that it matches; "
        "move it above that one, or remove it\n"
        "      - name: late\n"
        "        ^\n"
        "\n"
        "r.yaml: 1 problem, 1 warning\n"
    )
    assert as_data(found)["matrix"] == []


def test_the_table_shows_each_kind_of_outcome() -> None:
    """Sent, renamed, refused, and not decided by the stream's name; a glob has an example."""
    found = inspect(
        """\
version: 1
upstreams:
  u: {url: "http://u/v1/events", topic_prefixes: [eqiad., codfw.]}
routes:
  - {name: renamed, match: {stream: long.name}, to: u, stream: b}
  - {name: never, match: {stream: never}, reject: not today}
  - {name: schema, match: {stream: c, schema: s}, to: u}
  - {name: same, match: {stream: b}, to: u}
  - {name: glob, match: {stream: "d_*"}, to: u}
"""
    )
    assert in_text(found, "r.yaml") == (
        "every pod:\n"
        "  stream     upstream               sent as   topic prefix\n"
        "  long.name  u                      b         eqiad. codfw.\n"
        "  b          u                      the same  eqiad. codfw.\n"
        "  never      refused\n"
        "  c          depends on its schema\n"
        "  d_x        u                      the same  eqiad. codfw.\n"
        "\n"
        "r.yaml: 1 upstream, 5 routes, 0 tests; all is well\n"
    )
    data = json.loads(json.dumps(as_data(found)))
    assert [(row["stream"], row["topics"], row["depends_on"]) for row in data["matrix"]] == [
        ("long.name", ["eqiad.b", "codfw.b"], None),
        ("b", ["eqiad.b", "codfw.b"], None),
        ("never", [], None),
        ("c", [], "schema"),
        ("d_x", ["eqiad.d_x", "codfw.d_x"], None),
    ]


def test_the_table_has_a_column_for_copies() -> None:
    """Only if there are any, with the percentage and the new name."""
    text = SMALL.replace("routes:", "  spare: {url: 'http://spare/v1/events', topic_prefixes: [s.]}\nroutes:")
    routes = text + "    match: {stream: a}\n    mirror: {to: spare, percent: 5, stream: b}\n"
    found = inspect(routes)
    assert "  stream  upstream    sent as   topic prefix  copies\n" in in_text(found, "r.yaml")
    assert "  a       production  the same                5 % copied to spare as b\n" in in_text(found, "r.yaml")
    (row,) = as_data(found)["matrix"]
    assert row["copy"] == {"upstream": "spare", "sent_as": "b", "percent": 5, "topics": ["s.b"]}


def test_a_huge_table_is_left_out() -> None:
    """With a line that says so."""
    routes = "".join(
        f"  - {{name: r{n}, match: {{labels: {{isvc: m{n}}}, stream: s{n}}}, to: production}}\n" for n in range(150)
    )
    text = SMALL.partition("routes:\n")[0] + f"routes:\n{routes}"
    found = inspect(text)
    assert "no table: 150 events from 151 kinds of pods are too many\n" in in_text(found, "r.yaml")
    assert (as_data(found)["matrix"], as_data(found)["matrix_left_out"] is None) == ([], False)


# --- the command ---


def test_check_says_that_all_is_well(routes: Path) -> None:
    """The way of each stream, one line with what was checked, and status 0."""
    result = run("check", routes)
    assert (result.exit_code, result.stdout) == (
        0,
        "env=staging:\n"
        "  stream      upstream  sent as     topic prefix\n"
        "  score       staging   score-test\n"
        "  score-test  refused\n"
        "  links       staging   the same\n"
        "no labels: everything is refused\n"
        "\n"
        f"{routes}: 1 upstream, 2 routes, 1 test; all is well\n",
    )


def test_check_has_json(routes: Path) -> None:
    """The same for machines."""
    result = run("check", "--json", routes)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"], found["problems"], found["warnings"], found["tests"]) == (0, True, [], [], 1)
    assert found["matrix"][0] == {
        "labels": {"env": "staging"},
        "alike": {},
        "stream": "score",
        "schema": None,
        "route": "rename",
        "upstream": "staging",
        "sent_as": "score-test",
        "topics": [],
        "refused": None,
        "depends_on": None,
        "copy": None,
    }


def test_check_shows_every_test_that_fails(routes: Path) -> None:
    """At each key that differs, with status 1."""
    routes.write_text(ROUTES + WRONG_TEST)
    result = run("check", routes)
    assert (result.exit_code, result.stdout) == (
        1,
        f"{routes}:15:14: tests[1].expect.stream fails: expected other, got links (test: this is not so)\n"
        "        expect: {stream: other, route: rename}\n"
        "                 ^\n"
        f"{routes}:15:29: tests[1].expect.route fails: expected rename, got keep (test: this is not so)\n"
        "        expect: {stream: other, route: rename}\n"
        "                                ^\n"
        f"\n{routes}: 2 problems\n",
    )
    assert run("check", "--json", routes).exit_code == 1


def test_check_shows_a_warning_and_passes(routes: Path) -> None:
    """A redundant entry is shown, and the status is 0."""
    spare = 'upstreams:\n  spare: {url: "http://spare/v1/events"}\n'
    routes.write_text(ROUTES.replace("upstreams:\n", spare))
    result = run("check", routes)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{routes}:3:3: warning: upstreams.spare is not used by any route; ")
    assert result.stdout.endswith(f"\n{routes}: 2 upstreams, 2 routes, 1 test; 1 warning\n")


def test_check_shows_every_problem_at_its_place(routes: Path) -> None:
    """File, line, column, path, problem and suggestion of each, and status 1."""
    routes.write_text(
        ROUTES.replace("to: staging, stream", "to: stagin, stream").replace("match: {labels", "mach: {labels", 1)
    )
    result = run("check", "--json", routes)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"]) == (1, False)
    assert [(each["file"], each["line"], each["path"]) for each in found["problems"]] == [
        (str(routes), 5, "routes[0].mach"),
        (str(routes), 5, "routes[0].to"),
    ]
    text = run("check", routes)
    assert text.exit_code == 1
    assert text.stdout.startswith(f"{routes}:5:20: routes[0].mach ")
    assert "did you mean 'match'?" in text.stdout
    assert "did you mean 'staging'?" in text.stdout
    assert text.stdout.endswith(f"\n\n{routes}: 2 problems\n")


@pytest.mark.parametrize("command", [("check",), ("explain", "--stream", "s", "--routes"), ("serve", "--routes")])
def test_a_missing_file_is_status_2(command: tuple[str, ...], tmp_path: Path) -> None:
    """Unlike a file with problems; the message is on standard error."""
    result = run(*command, tmp_path / "nope.yaml")
    words = f"eventgate-sidecar: cannot read {tmp_path}/nope.yaml: No such file or directory\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", words)
