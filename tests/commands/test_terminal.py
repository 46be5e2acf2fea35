"""Promises of `terminal`: shared options are the same in all commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.commands.cli import app, load
from sidecar.commands.terminal import aligned, counted, markdown_table
from tests.commands.conftest import explained, run

SHARED = {"listen": "SIDECAR_LISTEN", "routes": "SIDECAR_ROUTES"}
WHO = {
    "listen": {"serve", "explain", "probe", "tap", "top"},
    "routes": {"check", "explain", "probe", "serve", "streams"},
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_options_have_one_variable(name: str) -> None:
    """`SIDECAR_LISTEN` and `SIDECAR_ROUTES` are for all commands."""
    having = {
        command.name: {parameter.envvar for parameter in command.params if parameter.name == name}
        for command in map(load, app.commands)
        if any(parameter.name == name for parameter in command.params)
    }
    assert having == {command: {SHARED[name]} for command in WHO[name]}


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
    """SIDECAR_LABELS and --label together; flags take precedence."""
    words = [word for flag in flags for word in ("--label", flag)]
    found = explained("--routes", routes, "--stream", "s", *words, env={"SIDECAR_LABELS": variable})
    assert found["labels"] == labels


def test_the_configuration_comes_from_flag_or_environment(routes: Path, tmp_path: Path) -> None:
    """SIDECAR_ROUTES or --routes, which takes precedence; or FILE, which is the same."""
    labels = ("--label", "env=staging", "--stream", "links")
    assert explained(*labels, env={"SIDECAR_ROUTES": str(routes)})["upstream"] == "staging"
    nope = {"SIDECAR_ROUTES": str(tmp_path / "nope.yaml")}
    assert explained(*labels, "--routes", routes, env=nope)["upstream"] == "staging"
    assert explained(*labels, routes, env=nope)["upstream"] == "staging"
    twice = run("check", routes, "--routes", routes)
    assert (twice.exit_code, "given twice" in twice.stderr) == (2, True)


def test_a_count_has_its_noun() -> None:
    """Singular for one, else plural."""
    assert [counted(number, "event") for number in (0, 1, 2)] == ["0 events", "1 event", "2 events"]


def test_columns_are_aligned() -> None:
    """Each is as wide as its widest cell, without trailing spaces."""
    assert aligned([("a", "bb"), ("ccc", "d")]) == ["  a    bb", "  ccc  d"]


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    """In Markdown it would start another column."""
    assert list(markdown_table(("a", "b"), [("x|y", "z")])) == ["| a | b |", "| --- | --- |", "| x\\|y | z |"]
