"""The demo's output, plain for programs, and clear about errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.demo import screen

SUMMARY: dict[str, Any] = {
    "ok": True,
    "events": {"sent": 2, "delivered": 1, "invalid": 1, "failed": 0, "lost": 0, "repeated": 0},
    "ways": [
        {
            "stream": "mediawiki.revision_score_damaging",
            "wrong": "",
            "sent": 1,
            "outcomes": {"delivered": 1},
            "answers": {"201 All 1 out of 1 events were accepted.": 1},
            "arrived": [{"upstream": "production", "stream": "test", "topic": "eqiad.test", "events": 1}],
        },
        {
            "stream": "mediawiki.revision_score_damaging",
            "wrong": "its prediction is not a list",
            "sent": 1,
            "outcomes": {"invalid": 1},
            "answers": {"400 1 out of 1 events were invalid and not accepted.": 1},
            "arrived": [],
        },
    ],
    "arrived": {"eqiad": 0, "production": 1},
    "answers": {"201": 1, "400": 1},
    "latency_ms": {"p50": 1.0, "p99": 2.0},
    "hang": {"datacenter": "eqiad", "seconds": 2.0, "events": 80, "elsewhere": 40, "worst_ms": 112.2},
    "problems": [],
    "seconds": 4.5,
}


def test_a_stream_is_shown_with_its_topics(capsys: pytest.CaptureFixture[str]) -> None:
    """Or with the refusal."""
    screen.show_summary(SUMMARY)
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert shown[2:6] == [
        "1 mediawiki.revision_score_damaging",
        "→ production eqiad.test",
        "1 mediawiki.revision_score_damaging (its prediction is not a list)",
        "→ invalid    400 1 out of 1 events were invalid and not accepted",
    ]
    assert "for meta.stream. 0 lost; nothing was written to a production stream." in shown


def test_the_hang_is_summarised(capsys: pytest.CaptureFixture[str]) -> None:
    """Its effect on the model server, in two lines."""
    screen.show_summary(SUMMARY)
    shown = capsys.readouterr().out
    assert (
        "eqiad hung for 2.0 s. The 80 events accepted meanwhile were answered\nwithin 112 ms; 40 went to codfw" in shown
    )


def test_problems_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """And the summary does not say that all is well."""
    screen.show_summary({**SUMMARY, "ok": False, "problems": ["an event of s is nowhere"]})
    shown = capsys.readouterr().out
    assert "! an event of s is nowhere" in shown
    assert "2 events sent: 1 delivered, 1 invalid, 0 failed. 1 problems." in shown
    assert "nothing was written" not in shown


def test_events_that_were_sent_twice_are_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    """A duplicate after a late answer is not an error."""
    screen.show_summary({**SUMMARY, "events": {**SUMMARY["events"], "repeated": 3}})
    assert "3 went to a second endpoint too" in capsys.readouterr().out


def test_json_is_only_json(capsys: pytest.CaptureFixture[str]) -> None:
    """However long its lines."""
    summary = {**SUMMARY, "problems": ["x" * 500]}
    screen.show_json(summary)
    assert json.loads(capsys.readouterr().out) == summary


def test_progress_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere nothing is shown or computed."""
    with screen.progress(quiet=False) as show:
        show(lambda: pytest.fail("looked"))
    assert capsys.readouterr().out == ""
