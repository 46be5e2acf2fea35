"""Promises of `spooltelemetry`: trouble is loud and rare, success is counted and silent."""

from __future__ import annotations

import io
import json
import typing
from typing import Any

import msgspec
import pytest

from sidecar.telemetry.log import make_log
from sidecar.telemetry.spooltelemetry import (
    DeadLettered,
    DeadLettersDropped,
    EventsSpooled,
    Replayed,
    SpoolBroken,
    SpoolCommitted,
    SpoolHappening,
    SpoolMeasured,
    SpoolOpened,
    SpoolRefused,
    SpoolSetAside,
)
from sidecar.telemetry.telemetry import Telemetry

USABLE = 'usable{directory="/spool"}'


def after(*happenings: SpoolHappening) -> tuple[list[tuple[str, str]], dict[str, float]]:
    """Return level and kind of each line, and all samples of the spool's metrics that are not 0."""
    written = io.StringIO()
    telemetry = Telemetry(["score"], make_log(written))
    for each in happenings:
        telemetry.emit(each)
    lines: list[dict[str, Any]] = [json.loads(line) for line in written.getvalue().splitlines()]
    samples = (line.rpartition(" ") for line in telemetry.exposition().decode().splitlines() if line[0] != "#")
    prefix = "eventgate_sidecar_spool_"
    counted = {name.removeprefix(prefix): float(value) for name, _, value in samples if name.startswith(prefix)}
    return [(line["log.level"], line["event"]["action"]) for line in lines], {
        name: value for name, value in counted.items() if value and "_bucket" not in name
    }


@pytest.mark.parametrize(
    ("happening", "level"),
    [
        (SpoolOpened("/spool", 3, 1), "info"),
        (SpoolBroken("/spool", "disk full"), "error"),
        (SpoolSetAside("/spool", "spool.db.damaged", "malformed", 3), "error"),
        (SpoolRefused("full", "it is full", 3), "error"),
        (Replayed("main", "failed", 3, "nothing answers"), "warning"),
        (DeadLettered("score", "age", 3), "warning"),
        (DeadLettersDropped(3), "error"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_trouble_is_one_line(happening: SpoolHappening, level: str) -> None:
    """A thousand of a kind write one line, as loud as it is worth."""
    assert after(*[happening] * 1000)[0] == [(level, type(happening).__name__)]


@pytest.mark.parametrize(
    "happening",
    [SpoolCommitted(3, 0.1), SpoolMeasured(1, 2, 3, 4.0), EventsSpooled("score", 3), Replayed("main", "delivered", 3)],
)
def test_success_is_silent(happening: SpoolHappening) -> None:
    """What goes well is counted, and not logged."""
    lines, counted = after(happening)
    assert (lines, bool(counted)) == ([], True)


@pytest.mark.parametrize("kind", typing.get_args(SpoolHappening), ids=lambda kind: kind.__name__)
def test_whatever_happens_leaves_a_trace(kind: type[msgspec.Struct]) -> None:
    """No happening is forgotten: each changes a metric or writes a line; and each says what it is."""
    values = {str: "word", int: 3, float: 0.5}
    happening = kind(**{each.name: values[each.type] for each in msgspec.structs.fields(kind)})
    lines, counted = after(happening)  # type: ignore[arg-type]
    assert lines or counted
    assert kind.__doc__


def test_gauges_show_how_it_is_now() -> None:
    """Whether it is usable, and how much it holds."""
    assert after(SpoolOpened("/spool", 0, 0), SpoolMeasured(5, 1000, 2, 60.0))[1] == {
        USABLE: 1.0, "events": 5.0, "bytes": 1000.0, "dead_letters": 2.0, "oldest_seconds": 60.0,
    }  # fmt: skip
    assert USABLE not in after(SpoolOpened("/spool", 0, 0), SpoolBroken("/spool", "disk full"))[1]


def test_where_there_is_no_spool_none_is_broken() -> None:
    """An alert on a spool that is not usable stays silent in a pod that was given none."""
    assert "spool_usable{" not in Telemetry([], make_log(io.StringIO())).exposition().decode()


def test_events_are_counted_by_what_became_of_them() -> None:
    """Streams that routes.yaml does not name share one label; what is not bounded is none."""
    assert after(
        EventsSpooled("score", 3),
        EventsSpooled("made-up", 1),
        SpoolRefused("broken", "disk full", 2),
        Replayed("main", "delivered", 4),
        DeadLettered("made-up", "invalid", 1),
        DeadLettersDropped(6),
    )[1] == {
        'stored_events_total{stream="score"}': 3.0,
        'stored_events_total{stream="_other"}': 1.0,
        'refused_events_total{why="broken"}': 2.0,
        'replayed_events_total{result="delivered",upstream="main"}': 4.0,
        'buried_events_total{cause="invalid",stream="_other"}': 1.0,
        "dropped_dead_letters_total": 6.0,
    }


def test_commits_are_timed() -> None:
    """How long the disk takes is a histogram."""
    _, counted = after(SpoolCommitted(3, 0.25), SpoolCommitted(1, 0.5))
    assert (counted["commit_seconds_count"], counted["commit_seconds_sum"]) == (2.0, 0.75)
