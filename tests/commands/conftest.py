"""What the tests of several commands share: a configuration, and how a command is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidecar.commands.cli import app

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


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    """Return a configuration in which all is well."""
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES)
    return path


def run(*words: str | Path, env: dict[str, str] | None = None, given: str = "") -> Result:
    """Run a command, with no variable of our own environment that it reads."""
    names = ("SIDECAR_ROUTES", "SIDECAR_LABELS", "SIDECAR_LISTEN", "SIDECAR_ADMIN", "SIDECAR_DRAIN")
    clean: dict[str, str | None] = dict.fromkeys(names)
    return CliRunner().invoke(app, [str(word) for word in words], env={**clean, **(env or {})}, input=given)


def explained(*words: str | Path, env: dict[str, str] | None = None) -> Any:
    """Return what `explain --json` says."""
    return json.loads(run("explain", "--json", *words, env=env).stdout)
