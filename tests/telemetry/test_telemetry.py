"""Every happening is counted and logged in one place, and cannot flood the log."""

from __future__ import annotations

import logging

import pytest

from sidecar.telemetry.happenings import (
    Checked,
    ConfigLoaded,
    EventsEnded,
    Happening,
    PostFailed,
    RequestRefused,
    Stopped,
    Unexpected,
)
from tests.telemetry.desk import Desk


def made_up(kind: type[Happening]) -> Happening:
    """Return a happening of this kind, with arbitrary values in its fields."""
    values = {"str": "word", "int": 1, "float": 0.5, "bool": True}
    return kind(**{name: values[kind.__annotations__[name]] for name in kind.__struct_fields__})


@pytest.mark.parametrize("kind", Happening.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_happening_changes_a_metric_or_the_log(kind: type[Happening]) -> None:
    """None is forgotten."""
    desk = Desk()
    before = desk.telemetry.exposition()
    lines = desk.after(made_up(kind))
    assert lines or desk.telemetry.exposition() != before


def test_a_line_of_the_log_is_ecs() -> None:
    """Logstash gets the time, the level, a message and the fields."""
    (line,) = Desk().after(ConfigLoaded("routes.yaml", 4, 2, "env=staging", "0123abcd"))
    assert line.pop("@timestamp").endswith("Z")
    assert line == {
        "log.level": "info",
        "message": "config loaded: file=routes.yaml routes=4 upstreams=2 labels=env=staging digest=0123abcd",
        "ecs.version": "1.6.0",
        "event": {"action": "ConfigLoaded"},
        "eventgate_sidecar": {
            "file": "routes.yaml",
            "routes": 4,
            "upstreams": 2,
            "labels": "env=staging",
            "digest": "0123abcd",
        },
        "log": {"logger": "eventgate-sidecar"},
    }


def test_a_long_reason_is_cut() -> None:
    """Messages stay readable, however long an endpoint's answer is."""
    (line,) = Desk().after(RequestRefused(500, "SyntaxError", "x" * 10_000))
    assert len(line["message"]) < 400


def test_a_flood_of_one_kind_is_one_line_a_second() -> None:
    """A thousand failures of one kind write one line; the metrics have the number."""
    desk = Desk()
    failure = PostFailed("staging", "eqiad", "ambiguous", "no answer", 1.5)
    other = PostFailed("staging", "codfw", "ambiguous", "no answer", 1.5)
    lines = desk.after(*[failure] * 1000, other)
    assert [line["eventgate_sidecar"]["endpoint"] for line in lines] == ["eqiad", "codfw"]
    assert desk.counted("posts_total")['endpoint="eqiad",result="ambiguous",upstream="staging"'] == 1000.0


def test_made_up_streams_do_not_flood_the_log() -> None:
    """Even a producer that makes up stream after stream."""
    lines = Desk().after(*(EventsEnded(f"made-up-{number}", "refused", 1, "no route") for number in range(1000)))
    assert len(lines) == 1


def test_a_bug_is_never_suppressed() -> None:
    """Internal errors are always logged, as errors."""
    lines = Desk().after(*[Unexpected("intake", "ZeroDivisionError: a bug")] * 3)
    assert [line["log.level"] for line in lines] == ["error"] * 3


def test_an_observer_gets_log_lines_and_checks() -> None:
    """With the messages of the log and the number suppressed; never an event that was delivered."""
    desk = Desk()
    told: list[tuple[object, ...]] = []
    desk.telemetry.observer = lambda *line: told.append(line)
    for happening in (EventsEnded("s", "delivered", 1), Checked("u", "e", True, 0.1), Stopped(3)):
        desk.telemetry.emit(happening)
    assert told == [
        (logging.DEBUG, Checked("u", "e", True, 0.1), "", 1),
        (logging.INFO, Stopped(3), "stopped: unanswered=3", 1),
    ]
