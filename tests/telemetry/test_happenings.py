"""Each happening has its level: trouble is logged at a limited rate, success is not logged."""

from __future__ import annotations

import pytest

from sidecar.telemetry.happenings import (
    MAX_TEXT,
    ConfigNotKept,
    ConfigRefused,
    DeadLettered,
    DeadLettersDropped,
    EventsEnded,
    EventsSpooled,
    Happening,
    HealthChanged,
    PostAnswered,
    Replayed,
    RequestAnswered,
    SpoolBroken,
    SpoolCommitted,
    SpoolLeft,
    SpoolMeasured,
    SpoolOpened,
    SpoolRefused,
    SpoolSetAside,
)
from tests.telemetry.desk import Desk

PROBLEMS = "routes.yaml:7:5: routes[0].to is 'prodcution'\n        to: prodcution\n        ^"


@pytest.mark.parametrize("kind", Happening.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_happening_has_a_docstring(kind: type[Happening]) -> None:
    """It is the manual of the log."""
    assert kind.__doc__
    assert not kind.__doc__.startswith(kind.__name__ + "(")


@pytest.mark.parametrize("kind", Happening.__subclasses__(), ids=lambda kind: kind.__name__)
def test_a_kind_consists_of_fields(kind: type[Happening]) -> None:
    """A line is suppressed only for another that agrees in fields that exist."""
    assert set(kind.sampled_by or ()) <= set(kind.__struct_fields__)


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
def test_trouble_is_one_line(happening: Happening, level: str) -> None:
    """A thousand of a kind write one line at the right level."""
    (line,) = Desk().after(*[happening] * 1000)
    assert (line["log.level"], line["event"]["action"]) == (level, type(happening).__name__)


@pytest.mark.parametrize(
    "happening",
    [
        EventsEnded("known", "delivered", 1),
        RequestAnswered(201, 0.1),
        PostAnswered("u", "e", 1, 0.1),
        SpoolCommitted(3, 0.1),
        SpoolMeasured(1, 2, 3, 4.0),
        EventsSpooled("score", 3),
        Replayed("main", "delivered", 3),
    ],
    ids=lambda happening: type(happening).__name__,
)
def test_success_is_not_logged(happening: Happening) -> None:
    """Success is only counted: a line for every event would be expensive and leak data."""
    desk = Desk()
    before = desk.telemetry.exposition()
    assert desk.after(happening) == []
    assert desk.telemetry.exposition() != before


def test_only_recovery_is_no_warning() -> None:
    """An address that may get events again is info; one that may not is a warning."""
    changes = (HealthChanged("main", "eqiad", "10.0.0.1", "unknown", after, "why") for after in ("healthy", "ejected"))
    assert [line["log.level"] for line in Desk().after(*changes)] == ["info", "warning"]


def test_what_is_left_in_the_spool_is_logged_for_each_stream() -> None:
    """Made-up streams do not share a kind here: each is logged once, when the sidecar ends."""
    lines = Desk().after(SpoolLeft("made-up-1", 3), SpoolLeft("made-up-2", 4))
    assert [line["eventgate_sidecar"]["count"] for line in lines] == [3, 4]


def test_the_log_shows_problems_as_check_does() -> None:
    """Line by line, with the caret; the length is bounded."""
    (line,) = Desk().after(ConfigRefused("routes.yaml", 1, PROBLEMS))
    assert line["message"] == f"config refused: routes.yaml\n{PROBLEMS}"
    assert (line["log.level"], line["event"]["action"]) == ("error", "ConfigRefused")
    (line,) = Desk().after(ConfigRefused("routes.yaml", 999, "x" * 2 * MAX_TEXT))
    assert line["message"].endswith("x… (`check` shows the rest)")
    assert len(line["message"]) < MAX_TEXT + 100


def test_a_configuration_that_cannot_be_kept_is_a_warning() -> None:
    """It has no effect now, but may have one at a restart."""
    (line,) = Desk().after(ConfigNotKept("/state/last-good.yaml", "Read-only file system"))
    assert (line["log.level"], line["message"]) == (
        "warning",
        "config not kept: file=/state/last-good.yaml reason=Read-only file system",
    )
