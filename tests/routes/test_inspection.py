"""Promises of `inspection`: what is wrong with a file is found before it runs, all at once and in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.routes.inspection import inspect

DATA = Path(__file__).parent.parent / "data"
BAD = sorted((DATA / "bad_routes").glob("*.yaml"))
WARNED = sorted((DATA / "warned_routes").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_mistake_is_named_where_it_stands(path: Path) -> None:
    """For every kind of mistake the operator reads exactly the text that lies beside the file."""
    found = inspect(path.read_text(encoding="utf-8"))
    assert "".join(f"{each}\n" for each in found.problems) == path.with_suffix(".txt").read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        found.approved  # noqa: B018  reading it is what raises
    assert refusal.value.problems == found.problems


@pytest.mark.parametrize("path", WARNED, ids=lambda path: path.stem)
def test_what_does_no_harm_is_a_warning(path: Path) -> None:
    """What is superfluous is named the same way, and the file is taken."""
    found = inspect(path.read_text(encoding="utf-8"))
    assert "".join(f"{each}\n" for each in found.warnings) == path.with_suffix(".txt").read_text(encoding="utf-8")
    assert (found.problems, found.approved) == ((), found.config)


def test_mistakes_tests_and_warnings_come_together() -> None:
    """What is found in the whole file comes in one go, in the order of the file."""
    found = inspect(
        """\
version: 1
upstreams:
  production: {url: "https://eventgate-main.discovery.wmnet:4492/v1/events"}
  staging: {url: "https://staging.svc.eqiad.wmnet:4492/v1/events"}
routes:
  - {name: all, to: production}
  - {name: late, to: production}
tests:
  - {name: nothing passes, event: {meta: {stream: a}}, expect: {refused: true, route: late}}
"""
    )
    assert [(each.line, each.path) for each in found.problems] == [
        (7, "routes[1]"),
        (9, "tests[0].expect.refused"),
        (9, "tests[0].expect.route"),
    ]
    assert [(each.line, each.path, each.warning) for each in found.warnings] == [(4, "upstreams.staging", True)]
