"""Follows the steps of the README and the tutorial."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.end_to_end.processes import ROOT, ask, emulator, sidecar

EVENT = (ROOT / "examples" / "score.json").read_bytes()
JSON = {"content-type": "application/json"}


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def answers(page: str) -> list[str]:
    """Return the headers `x-eventgate-sidecar` that a page shows, in order."""
    return re.findall(r"^x-eventgate-sidecar: (.*)$", (ROOT / page).read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "rules", "answer"),
    [("README.md", 0, 0), ("docs/tutorial.md", 0, 0), ("docs/tutorial.md", 1, 1)],
    ids=["the README", "the first rules of the tutorial", "its rules for two environments"],
)
def test_the_first_event_is_answered_as_shown(page: str, rules: int, answer: int, tmp_path: Path) -> None:
    """With the rules on the page, its event gets the answer on the page."""
    with emulator(tmp_path) as eventgate:
        routes = tmp_path / "routes.yaml"
        routes.write_text(blocks(page, "yaml")[rules].replace("127.0.0.1:8192", eventgate.address))
        with sidecar(routes, "--label", "env=staging") as running:
            found = ask(running.address, "POST", "/v1/events", EVENT, JSON)
    assert f"HTTP/1.1 {found.status} {found.reason}" in (ROOT / page).read_text()
    shown = answers(page)[answer].replace("127.0.0.1:8192", eventgate.address)
    assert found.headers["x-eventgate-sidecar"] == shown
