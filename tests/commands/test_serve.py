"""Promises of `serve` before it serves; the rest is in `end_to_end`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.conftest import ROUTES, run


def test_serve_does_not_start_with_a_bad_configuration(routes: Path) -> None:
    """All problems are on standard error, and the status is 2."""
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
        (("--listen", "8888"), "--listen '8888' is not an address; write host:port, such as 127.0.0.1:8888"),
        (
            ("--admin", "127.0.0.1:x"),
            "--admin '127.0.0.1:x' is not an address; write host:port, such as 127.0.0.1:8888",
        ),
        (("--drain", "soon"), "--drain is 'soon'; write a duration such as 500ms, 1.5s, 5m or 1h"),
        (("--drain", "9" * 400 + "s"), f"--drain is '{'9' * 56}...; write a duration such as 500ms, 1.5s, 5m or 1h"),
        (("--drain", "2h"), "--drain is 2h; allowed: from 1ms to 1h"),
        (
            ("--listen", "127.0.0.1:²"),
            "--listen '127.0.0.1:²' is not an address; write host:port, such as 127.0.0.1:8888",
        ),
        (("--label", "env"), "--label has 'env', which is not KEY=VALUE; write a label such as env=staging"),
    ],
)
def test_serve_does_not_start_with_a_bad_setting(routes: Path, words: tuple[str, ...], complaint: str) -> None:
    """It is reported, and the status is 2."""
    result = run("serve", "--routes", routes, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *words)
    assert (result.exit_code, result.stderr) == (2, f"eventgate-sidecar: {complaint}\n")


def test_every_wrong_setting_is_shown_at_once(routes: Path) -> None:
    """With what is wrong with the configuration, which has the place in its lines."""
    routes.write_text(ROUTES.replace("version: 1", "version: 2"))
    words = ("--listen", "8888", "--drain", "soon", "--label", "env", "--gateway")
    result = run("serve", routes, *words, env={"SIDECAR_LABELS": "a=b,a=c", "OTEL_TRACES_EXPORTER": "zipkin"})
    assert result.exit_code == 2
    assert [line.partition(" is ")[0].partition(" gives ")[0] for line in result.stderr.splitlines()[3:]] == [
        "eventgate-sidecar: SIDECAR_LABELS",
        "eventgate-sidecar: --drain",
        "eventgate-sidecar: OTEL_TRACES_EXPORTER",
        "eventgate-sidecar: --listen '8888'",
        "eventgate-sidecar: --gateway needs a spool; give it a directory with --spool DIR",
    ]
    assert result.stderr.startswith(f"{routes}:1:1: version is 2; allowed: 1\n")


def test_a_variable_is_no_option() -> None:
    """What `--help` does not show is neither taken nor suggested."""
    result = run("serve", "--labels-variabl", "a=b")
    assert (result.exit_code, "--labels-variable" in result.stderr) == (2, False)
    assert run("serve", "--labels-variable", "a=b").exit_code == 2
