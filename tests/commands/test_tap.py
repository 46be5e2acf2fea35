"""Promises of `tap`: complete and safe output, and exit statuses."""

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
    """Run it with a sidecar that sends these messages and stops."""
    stream = "".join(f"data: {json.dumps(each)}\n\n" for each in passed) + "event: end\ndata:\n\n"
    with respx.mock:
        respx.get(URL).respond(headers={"content-type": "text/event-stream"}, text=stream)
        return tap(*flags)


def test_an_event_is_shown_with_its_route() -> None:
    """With outcome, both streams, endpoint, reason and content; the end of the tap is not an error."""
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


def test_cut_and_missed_events_are_noted() -> None:
    """With their number."""
    missed = [{"left_out": 7, "lost": 0}, {"left_out": 0, "lost": 3}, {"left_out": 1, "lost": 2}]
    lines = shown(PASSED | {"cut": True, "event_bytes": 20_000}, *missed).stdout.splitlines()
    assert lines[2].endswith("} … cut; the event has 20000 bytes")
    assert [line.strip() for line in lines[3:]] == [
        "… 7 more passed, too many to show",
        "… 3 were lost, as this command did not read fast enough",
        "… 1 more passed, too many to show; 2 were lost, as this command did not read fast enough",
    ]


def test_control_characters_are_escaped() -> None:
    """They could move the cursor or start a line."""
    evil = "a\x1b[2J\x9b31m\n12:00:00 delivered b"
    lines = shown(PASSED | dict.fromkeys(("stream", "said", "event", "route"), evil)).stdout.splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert r"a\x1b[2J\x9b31m 12:00:00 delivered b" in lines[3]


def test_json_has_a_line_per_event() -> None:
    """With all fields, in ASCII."""
    passed = PASSED | {"event": "é\x9b"}
    result = shown(passed, {"left_out": 1, "lost": 0}, flags=("--json",))
    assert [json.loads(line) for line in result.stdout.splitlines()] == [passed, {"left_out": 1, "lost": 0}]
    assert result.stdout.isascii()


def test_a_refusal_is_exit_status_2() -> None:
    """With the sidecar's message; so is a missing sidecar."""
    with respx.mock:
        respx.get(URL).respond(403, json={"detail": "the tap is off"})
        result = tap()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "eventgate-sidecar: the sidecar at 127.0.0.1:8888 refuses: the tap is off\n"
    with refusing() as address:
        result = tap("--listen", address)
    assert (result.exit_code, f"no sidecar answers at {address}" in result.stderr) == (2, True)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_supported(outcome: Outcome) -> None:
    """Each has a colour, and is in the help."""
    assert outcome in STYLES
    assert outcome in CliRunner().invoke(app, ["tap", "--help"]).output


def test_the_help_has_the_taps_limits() -> None:
    """As in `intake.tap`."""
    words = " ".join(CliRunner().invoke(app, ["tap", "--help"]).output.split())
    assert f"At most {PER_SECOND} events a second and {MAX_EVENT_BYTES // 1024} KiB of each are shown" in words
