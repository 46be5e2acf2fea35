"""Promises of `tap`: what passes is shown in full, safely, and every end of it has its words and its status."""

from __future__ import annotations

import json
from typing import Any

import pytest
import respx
from click.testing import CliRunner, Result

from sidecar.commands.cli import app
from sidecar.commands.tap import STYLES
from sidecar.events.results import Outcome
from sidecar.intake.tap import MAX_EVENT_BYTES, PER_SECOND
from tests.fakes import refusing

URL = "http://127.0.0.1:8888/_sidecar/tap"
PASSED: dict[str, Any] = {
    "at": 1_800_000_000.25,
    "stream": "score",
    "id": "a-b",
    "route": "all",
    "sent_as": "renamed",
    "upstream": "main",
    "endpoint": "eqiad",
    "outcome": "delivered",
    "said": "",
    "event": '{"meta":{"stream":"score"}}',
    "event_bytes": 27,
    "cut": False,
}


def tap(*flags: str) -> Result:
    """Run it."""
    return CliRunner().invoke(app, ["tap", *flags])


def shown(*passed: dict[str, Any], flags: tuple[str, ...] = ()) -> Result:
    """Run it beside a sidecar through which this passes before it stops."""
    stream = "".join(f"data: {json.dumps(each)}\n\n" for each in passed) + "event: end\ndata:\n\n"
    with respx.mock:
        respx.get(URL).respond(headers={"content-type": "text/event-stream"}, text=stream)
        return tap(*flags)


def test_an_event_is_shown_with_its_route() -> None:
    """Its outcome, both names, where it went and why, and all that is in it; the end is told, and is no failure."""
    result = shown(PASSED)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "08:00:00 delivered score → renamed",
        "         to main, endpoint eqiad, route all, id a-b",
        '         {"meta":{"stream":"score"}}',
    ]
    assert result.stderr.endswith(" stopped\n")


def test_eventgates_message_is_shown() -> None:
    """Between the way and the event; what was not sent went to nobody."""
    nowhere = {"sent_as": "", "upstream": "", "endpoint": "", "route": "", "id": None, "stream": ""}
    result = shown(PASSED | nowhere | {"outcome": "refused", "said": "no route takes it"})
    assert result.stdout.splitlines()[:3] == [
        "08:00:00 refused   (no stream)",
        "         to no upstream, no route",
        "         no route takes it",
    ]


def test_what_is_missing_is_told() -> None:
    """Of an event, and of events."""
    missed = [{"left_out": 7, "lost": 0}, {"left_out": 0, "lost": 3}, {"left_out": 1, "lost": 2}]
    lines = shown(PASSED | {"cut": True, "event_bytes": 20_000}, *missed).stdout.splitlines()
    assert lines[2].endswith("} … cut; the event has 20000 bytes")
    assert [line.strip() for line in lines[3:]] == [
        "… 7 more passed, too many to show",
        "… 3 were lost, as this command did not read fast enough",
        "… 1 more passed, too many to show; 2 were lost, as this command did not read fast enough",
    ]


def test_nothing_in_an_event_reaches_the_terminal_as_more_than_text() -> None:
    """What would move the cursor or begin a line of its own is spelt out."""
    evil = "a\x1b[2J\x9b31m\n12:00:00 delivered b"
    lines = shown(PASSED | dict.fromkeys(("stream", "said", "event", "route"), evil)).stdout.splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert r"a\x1b[2J\x9b31m 12:00:00 delivered b" in lines[3]


def test_programs_get_a_line_of_json_for_each() -> None:
    """With everything, and in characters that no terminal minds."""
    passed = PASSED | {"event": "é\x9b"}
    result = shown(passed, {"left_out": 1, "lost": 0}, flags=("--json",))
    assert [json.loads(line) for line in result.stdout.splitlines()] == [passed, {"left_out": 1, "lost": 0}]
    assert result.stdout.isascii()


def test_a_sidecar_that_does_not_tell_is_exit_status_2() -> None:
    """With its own words; nobody there is told too."""
    with respx.mock:
        respx.get(URL).respond(403, json={"detail": "the tap is off"})
        result = tap()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "eventgate-sidecar: the sidecar at 127.0.0.1:8888 refuses: the tap is off\n"
    with refusing() as address:
        result = tap("--listen", address)
    assert (result.exit_code, f"no sidecar answers at {address}" in result.stderr) == (2, True)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_can_be_asked_for(outcome: Outcome) -> None:
    """Each has its colour, and stands in the help."""
    assert outcome in STYLES
    assert outcome in CliRunner().invoke(app, ["tap", "--help"]).output


def test_the_help_says_how_much_is_shown() -> None:
    """As much as the tap gives."""
    words = " ".join(CliRunner().invoke(app, ["tap", "--help"]).output.split())
    assert f"At most {PER_SECOND} events a second and {MAX_EVENT_BYTES // 1024} KiB of each are shown" in words
