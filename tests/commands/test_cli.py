"""The command line: what is printed, in text and as JSON, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidecar import __version__
from sidecar.commands.cli import app

ROOT = Path(__file__).parent.parent.parent
ROUTES = """\
version: 1
upstreams:
  staging: {url: "https://staging.svc.{datacenter}.wmnet:4492/v1/events", datacenters: [eqiad, codfw]}
routes:
  - {name: rename, match: {labels: {env: staging}, stream: score}, to: staging, stream: score-test}
  - {name: keep, match: {labels: {env: staging}, stream: links}, to: staging}
tests:
  - name: a score is renamed
    labels: {env: staging}
    event: {meta: {stream: score}}
    expect: {upstream: staging, stream: score-test}
"""
WRONG_TEST = """\
  - name: this is not so
    labels: {env: staging}
    event: {meta: {stream: links}}
    expect: {stream: other, route: rename}
"""
ENDPOINTS = [f"https://staging.svc.{datacenter}.wmnet:4492/v1/events" for datacenter in ("eqiad", "codfw")]
COMMANDS = ("serve", "check", "explain", "diff", "probe", "streams", "schema", "demo")


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    """Return a configuration in which all is well."""
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES)
    return path


def run(*words: str | Path, env: dict[str, str] | None = None, given: str = "") -> Result:
    """Run a command, with nothing of our own environment that it would heed."""
    names = ("SIDECAR_ROUTES", "SIDECAR_LABELS", "SIDECAR_LISTEN", "SIDECAR_ADMIN", "SIDECAR_DRAIN")
    clean: dict[str, str | None] = dict.fromkeys(names)
    return CliRunner().invoke(app, [str(word) for word in words], env={**clean, **(env or {})}, input=given)


def explained(*words: str | Path, env: dict[str, str] | None = None) -> Any:
    """Return what `explain --json` says."""
    return json.loads(run("explain", "--json", *words, env=env).stdout)


# --- help ---


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """--help says what the command does and what its exit statuses mean."""
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.stdout
    assert "Exit status: 0 " in result.stdout


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_commands_are_listed(words: tuple[str, ...]) -> None:
    """Without a command, or asked for help, every command is listed."""
    listed = run(*words).output
    assert [command for command in COMMANDS if f"\n  {command} " not in listed] == []


def test_the_version_is_told() -> None:
    """--version prints name and version, and no more."""
    assert run("--version").stdout == f"eventgate-sidecar {__version__}\n"


@pytest.mark.parametrize("words", [("no-such-command",), ("check", "--no-such-option"), ("check", "a", "b")])
def test_what_nobody_understands_is_status_2(words: tuple[str, ...]) -> None:
    """A mistyped command is told from one that found something."""
    assert run(*words).exit_code == 2


# --- check ---


def test_check_says_that_all_is_well(routes: Path) -> None:
    """Which way each stream goes, one line with what was checked, and status 0."""
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


def test_check_says_so_as_json(routes: Path) -> None:
    """The same for a machine."""
    result = run("check", "--json", routes)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"], found["problems"], found["warnings"], found["tests"]) == (0, True, [], [], 1)
    assert found["matrix"][0] == {
        "labels": {"env": "staging"},
        "stream": "score",
        "schema": None,
        "route": "rename",
        "upstream": "staging",
        "sent_as": "score-test",
        "topics": [],
        "refused": None,
        "depends_on": None,
    }


def test_check_shows_every_test_that_fails(routes: Path) -> None:
    """A test that does not hold is shown at each key that differs, and the status is 1."""
    routes.write_text(ROUTES + WRONG_TEST)
    result = run("check", routes)
    assert (result.exit_code, result.stdout) == (
        1,
        f"{routes}:15:14: tests[1].expect.stream fails: expected other, is links (test: this is not so)\n"
        "        expect: {stream: other, route: rename}\n"
        "                 ^\n"
        f"{routes}:15:29: tests[1].expect.route fails: expected rename, is keep (test: this is not so)\n"
        "        expect: {stream: other, route: rename}\n"
        "                                ^\n"
        f"\n{routes}: 2 problems\n",
    )
    assert run("check", "--json", routes).exit_code == 1


def test_check_shows_a_warning_and_passes(routes: Path) -> None:
    """What is superfluous is shown, and the status is 0."""
    spare = 'upstreams:\n  spare: {url: "http://spare/v1/events"}\n'
    routes.write_text(ROUTES.replace("upstreams:\n", spare))
    result = run("check", routes)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{routes}:3:3: warning: upstreams.spare is not used by any route; ")
    assert result.stdout.endswith(f"\n{routes}: 2 upstreams, 2 routes, 1 test; 1 warning\n")


def test_check_shows_every_problem_where_it_stands(routes: Path) -> None:
    """File, line, column, path, what is wrong and what was meant: for each of them, and status 1."""
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
def test_a_file_that_is_not_there_is_status_2(command: tuple[str, ...], tmp_path: Path) -> None:
    """What cannot be read is said on standard error, and told from a file with problems."""
    result = run(*command, tmp_path / "nope.yaml")
    words = f"eventgate-sidecar: cannot read {tmp_path}/nope.yaml: No such file or directory\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", words)


# --- explain ---


def test_explain_shows_the_way_of_an_event(routes: Path) -> None:
    """Each route looked at with why it did not match, the one that did, and where the event goes."""
    result = run("explain", "--routes", routes, "--label", "env=staging", "--stream", "links")
    assert (result.exit_code, result.stdout) == (
        0,
        "event of stream links, labels env=staging\n"
        "  · rename: stream should match score, but it is links\n"
        "  ✓ keep: labels.env is staging, stream is links\n"
        "sent to staging as links\n"
        f"  {ENDPOINTS[0]}\n"
        f"  {ENDPOINTS[1]}\n",
    )


def test_explain_says_so_as_json(routes: Path) -> None:
    """The same for a machine, with the new name."""
    assert explained("--routes", routes, "--label", "env=staging", "--stream", "score") == {
        "stream": "score",
        "schema": None,
        "labels": {"env": "staging"},
        "routes": [{"name": "rename", "matched": True, "because": "labels.env is staging, stream is score"}],
        "refused": None,
        "upstream": "staging",
        "sent_as": "score-test",
        "accepts": [],
        "topics": [],
        "endpoints": ENDPOINTS,
    }


def test_explain_says_why_an_event_is_refused(routes: Path) -> None:
    """An event that would go nowhere is status 1, and the words are those its producer reads."""
    result = run("explain", "--routes", routes, "--stream", "links")
    assert (result.exit_code, result.stdout) == (
        1,
        "event of stream links, labels (none)\n"
        "  · rename: labels.env should match staging, but there is none\n"
        "  · keep: labels.env should match staging, but there is none\n"
        "refused: no route in routes.yaml takes stream links from a pod without labels; "
        "post to a stream that has a route, or ask for one\n",
    )


def test_explain_takes_a_whole_event(routes: Path, tmp_path: Path) -> None:
    """From a file or from standard input, as an operator has it at hand."""
    event = '{"meta": {"stream": "links"}}'
    (tmp_path / "event.json").write_text(event)
    common = ("explain", "--routes", routes, "--label", "env=staging", "--event")
    from_file = run(*common, tmp_path / "event.json")
    from_input = run(*common, "-", given=event)
    assert (from_file.exit_code, from_file.stdout) == (from_input.exit_code, from_input.stdout)
    assert (from_file.exit_code, from_file.stdout.splitlines()[0]) == (
        0,
        "event of stream links, labels env=staging",
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "explain needs either --stream or --event"),
        (("--stream", "s", "--event", "-"), "explain needs either --stream or --event"),
        (("--event", "/no/such/file"), "cannot read /no/such/file: No such file or directory"),
        (("--event", "-"), "- holds 2 events; explain takes one"),
        (("--stream", "s", "--label", "staging"), "'staging' is no label; write it as env=staging"),
        (("--stream", "s", "--label", "env="), "'env=' is no label; write it as env=staging"),
    ],
)
def test_explain_says_what_it_needs(routes: Path, words: tuple[str, ...], complaint: str) -> None:
    """A wrong option is status 2, with words on standard error."""
    result = run("explain", "--routes", routes, *words, given="[{}, {}]")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"eventgate-sidecar: {complaint}\n")


def test_explain_refuses_what_is_no_event(routes: Path) -> None:
    """Half an event is status 2, not a traceback."""
    result = run("explain", "--routes", routes, "--event", "-", given='{"meta"')
    assert (result.exit_code, result.stderr.startswith("eventgate-sidecar: ")) == (2, True)


# --- diff ---


def test_diff_marks_what_must_not_be_overlooked(routes: Path, tmp_path: Path) -> None:
    """Status 1 where a stream stops being delivered, in each form; 0 where nothing is marked."""
    new = tmp_path / "new.yaml"
    new.write_text(ROUTES.replace("stream: links}, to: staging", "stream: links}, reject: no more"))
    text = run("diff", routes, new)
    assert (text.exit_code, text.stdout.splitlines()[-1]) == (1, "3 streams from 2 kinds of pods: 1 change, 1 marked")
    markdown = run("diff", routes, new, "--format", "markdown")
    assert (
        markdown.exit_code,
        "| env=staging | links | staging | refused | is no longer delivered |" in markdown.stdout,
    ) == (1, True)
    as_json = run("diff", "--json", routes, new)
    assert (as_json.exit_code, json.loads(as_json.stdout)["marked"]) == (1, 1)
    assert run("diff", new, routes).exit_code == 0


def test_diff_takes_more_streams(routes: Path, tmp_path: Path) -> None:
    """A list of streams that the files do not name is compared, too; a list that is none is status 2."""
    (tmp_path / "streams.txt").write_text("other\n")
    (tmp_path / "none.txt").write_text("other than these\n")
    more = run("diff", routes, routes, "--streams", tmp_path / "streams.txt")
    assert (more.exit_code, more.stdout) == (0, "4 streams from 2 kinds of pods: every one goes the same way\n")
    none = run("diff", routes, routes, "--streams", tmp_path / "none.txt")
    assert (none.exit_code, none.stderr.startswith(f"eventgate-sidecar: {tmp_path}/none.txt:1: ")) == (2, True)


# --- streams ---


def test_streams_shows_a_table_in_each_form(routes: Path) -> None:
    """Markdown unless wikitext or JSON is asked for."""
    markdown = run("streams", routes)
    assert (markdown.exit_code, markdown.stdout.splitlines()[2]) == (
        0,
        "| `score` |  |  | staging EventGate, `score-test` |",
    )
    assert run("streams", routes, "--format", "wikitext").stdout.startswith('{| class="wikitable sortable"\n')
    assert [each["stream"] for each in json.loads(run("streams", "--json", routes).stdout)] == [
        "score",
        "score-test",
        "links",
    ]


# --- schema ---


def test_schema_prints_the_file_that_editors_read() -> None:
    """As it lies beside `routes.yaml`, byte for byte."""
    result = run("schema")
    assert (result.exit_code, result.stdout) == (0, (ROOT / "routes.schema.json").read_text(encoding="utf-8"))


# --- labels ---


@pytest.mark.parametrize(
    ("variable", "flags", "labels"),
    [
        ("", (), {}),
        ("env=staging", (), {"env": "staging"}),
        (" env=staging , isvc=enwiki-damaging,", (), {"env": "staging", "isvc": "enwiki-damaging"}),
        ("", ("env=staging", "isvc=a=b"), {"env": "staging", "isvc": "a=b"}),
        ("env=staging,isvc=a", ("env=production",), {"env": "production", "isvc": "a"}),
        ("", ("env=staging", "env=production"), {"env": "production"}),
    ],
    ids=["none", "one", "two", "flags", "a flag wins", "the last flag wins"],
)
def test_labels_come_from_flags_and_environment(
    routes: Path, variable: str, flags: tuple[str, ...], labels: dict[str, str]
) -> None:
    """SIDECAR_LABELS and --label together say what the pod is; a flag wins over the variable."""
    words = [word for flag in flags for word in ("--label", flag)]
    found = explained("--routes", routes, "--stream", "s", *words, env={"SIDECAR_LABELS": variable})
    assert found["labels"] == labels


def test_the_configuration_comes_from_flag_or_environment(routes: Path, tmp_path: Path) -> None:
    """SIDECAR_ROUTES names the file; --routes wins over it."""
    labels = ("--label", "env=staging", "--stream", "links")
    assert explained(*labels, env={"SIDECAR_ROUTES": str(routes)})["upstream"] == "staging"
    nope = {"SIDECAR_ROUTES": str(tmp_path / "nope.yaml")}
    assert explained(*labels, "--routes", routes, env=nope)["upstream"] == "staging"


# --- serve, as far as it gets without serving ---


def test_serve_does_not_start_with_a_bad_configuration(routes: Path) -> None:
    """Every problem is on standard error, and the status is 2."""
    routes.write_text(ROUTES.replace("version: 1", "version: 2").replace("to: staging}", "to: nowhere}"))
    result = run("serve", "--routes", routes)
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.partition(" ")[0] for line in result.stderr.splitlines() if line.startswith(str(routes))] == [
        f"{routes}:1:1:",
        f"{routes}:6:66:",
    ]
    assert result.stderr.endswith("\n2 problems\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--listen", "8888"), "'8888' is no address; write host:port, as 127.0.0.1:8888"),
        (("--admin", "127.0.0.1:x"), "'127.0.0.1:x' is no address; write host:port, as 127.0.0.1:8888"),
        (("--drain", "soon"), "--drain is 'soon'; a duration is written 500ms, 1.5s, 5m or 1h"),
        (("--label", "env"), "'env' is no label; write it as env=staging"),
    ],
)
def test_serve_does_not_start_with_a_bad_setting(routes: Path, words: tuple[str, ...], complaint: str) -> None:
    """A wrong flag is said in words, and the status is 2."""
    result = run("serve", "--routes", routes, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *words)
    assert (result.exit_code, result.stderr) == (2, f"eventgate-sidecar: {complaint}\n")
