"""What happens inside becomes one log line and one count, and never more than that."""

from __future__ import annotations

import io
import json
import logging
import typing

import pytest

from sidecar import __version__
from sidecar.telemetry import telemetry
from sidecar.telemetry.configtelemetry import ConfigLoaded
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import (
    Checked,
    EventsEnded,
    Happening,
    PostAnswered,
    PostFailed,
    RequestAnswered,
    RequestRefused,
    Stopped,
    Telemetry,
    Unexpected,
)


class Desk:
    """Telemetry that knows two streams, and what it wrote."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.written = io.StringIO()
        self.telemetry = Telemetry(["known", "other-known"], make_log(self.written))

    def after(self, *happenings: Happening) -> list[dict[str, typing.Any]]:
        """Return the lines logged about `happenings`."""
        for each in happenings:
            self.telemetry.emit(each)
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    def counted(self, name: str) -> dict[str, float]:
        """Return the samples of a metric, by their labels as they are written there."""
        lines = self.telemetry.exposition().decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith(f"eventgate_sidecar_{name}" + "{"))
        return {labels.partition("{")[2].rstrip("}"): float(value) for labels, _, value in found}


def made_up(kind: type[Happening]) -> Happening:
    """Return a happening of that kind, its fields filled with something of their type."""
    values = {"str": "word", "int": 1, "float": 0.5, "bool": True}
    return kind(**{name: values[kind.__annotations__[name]] for name in kind.__struct_fields__})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", typing.get_args(Happening), ids=lambda kind: kind.__name__)
def test_whatever_happens_leaves_a_trace(kind: type[Happening]) -> None:
    """No happening is forgotten: each changes a metric or writes a line."""
    desk = Desk()
    before = desk.telemetry.exposition()
    lines = desk.after(made_up(kind))
    assert lines or desk.telemetry.exposition() != before


@pytest.mark.parametrize("kind", typing.get_args(Happening), ids=lambda kind: kind.__name__)
def test_every_happening_says_what_it_is(kind: type[Happening]) -> None:
    """Each kind of happening has a docstring, which is the manual of the log."""
    assert kind.__doc__
    assert not kind.__doc__.startswith(kind.__name__ + "(")


def test_a_line_of_the_log_is_ecs() -> None:
    """Logstash gets the time, the level, words for people, and the fields for machines."""
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
    """However much an endpoint says, the words of a line stay readable."""
    (line,) = Desk().after(RequestRefused(500, "SyntaxError", "x" * 10_000))
    assert len(line["message"]) < 400


def test_events_are_counted_by_stream_and_outcome() -> None:
    """What routes.yaml names is counted by name; whatever else a producer makes up shares one label."""
    desk = Desk()
    desk.after(
        EventsEnded("known", "delivered", 3),
        EventsEnded("known", "invalid", 2, "is wrong"),
        EventsEnded("made-up-1", "delivered", 1),
        EventsEnded("made-up-2", "delivered", 1),
        EventsEnded("", "refused", 1, "no route"),
    )
    assert desk.counted("events_total") == {
        'outcome="delivered",stream="known"': 3.0,
        'outcome="invalid",stream="known"': 2.0,
        'outcome="delivered",stream="_other"': 2.0,
        'outcome="refused",stream="_other"': 1.0,
    }


def test_trouble_is_counted_from_0_on() -> None:
    """The first event that is refused is an increase, which an alert sees; what was counted before stays."""
    desk = Desk()
    desk.after(EventsEnded("known", "refused", 2, "no route"))
    desk.telemetry.know(["known"], ["all"])
    assert desk.counted("events_total") == {
        'outcome="refused",stream="known"': 2.0,
        'outcome="failed",stream="known"': 0.0,
        'outcome="refused",stream="_other"': 0.0,
        'outcome="failed",stream="_other"': 0.0,
    }
    assert desk.counted("route_events_total") == {
        'outcome="refused",route="_none"': 2.0,
        'outcome="failed",route="_none"': 0.0,
        'outcome="refused",route="all"': 0.0,
        'outcome="failed",route="all"': 0.0,
    }


def test_posts_are_counted_by_how_they_ended() -> None:
    """An endpoint's failures stand beside its answers, each by its class."""
    desk = Desk()
    desk.after(
        PostAnswered("staging", "eqiad", 5, 0.01),
        PostFailed("staging", "eqiad", "ambiguous", "no answer", 1.5),
        PostFailed("staging", "codfw", "never_sent", "refused", 0.1),
    )
    assert desk.counted("posts_total") == {
        'endpoint="eqiad",result="answered",upstream="staging"': 1.0,
        'endpoint="eqiad",result="ambiguous",upstream="staging"': 1.0,
        'endpoint="codfw",result="never_sent",upstream="staging"': 1.0,
    }


def test_how_long_producers_waited_is_measured() -> None:
    """The histogram of answers holds each one."""
    desk = Desk()
    desk.after(RequestAnswered(201, 0.003), RequestAnswered(503, 4.5))
    buckets = desk.counted("request_seconds_bucket")
    assert (buckets['le="0.0025"'], buckets['le="0.005"'], buckets['le="5.0"']) == (0.0, 1.0, 2.0)
    assert desk.counted("requests_total") == {'status="201"': 1.0, 'status="503"': 1.0}


def test_the_version_can_be_asked_for() -> None:
    """Which version a pod runs is a metric."""
    assert Desk().counted("info") == {f'version="{__version__}"': 1.0}


def test_a_flood_of_one_kind_is_one_line_a_second() -> None:
    """A thousand failures of one kind write one line; the metrics know the number."""
    desk = Desk()
    failure = PostFailed("staging", "eqiad", "ambiguous", "no answer", 1.5)
    other = PostFailed("staging", "codfw", "ambiguous", "no answer", 1.5)
    lines = desk.after(*[failure] * 1000, other)
    assert [line["eventgate_sidecar"]["endpoint"] for line in lines] == ["eqiad", "codfw"]
    assert desk.counted("posts_total")['endpoint="eqiad",result="ambiguous",upstream="staging"'] == 1000.0


def test_made_up_streams_write_no_flood() -> None:
    """A producer that makes up stream after stream cannot fill the log."""
    lines = Desk().after(*(EventsEnded(f"made-up-{number}", "refused", 1, "no route") for number in range(1000)))
    assert len(lines) == 1


def test_success_is_silent() -> None:
    """What goes well is counted and not logged: a line for every event would be a cost and a leak."""
    assert Desk().after(EventsEnded("known", "delivered", 1), PostAnswered("u", "e", 1, 0.1)) == []


def test_a_bug_is_never_held_back() -> None:
    """Errors of our own are logged each time, as errors."""
    lines = Desk().after(*[Unexpected("intake", "ZeroDivisionError: a bug")] * 3)
    assert [line["log.level"] for line in lines] == ["error"] * 3


def test_two_in_one_process_do_not_share_their_numbers() -> None:
    """Each telemetry has a registry of its own; nothing is registered on import."""
    first, second = Desk(), Desk()
    first.after(RequestAnswered(201, 0.1))
    assert (first.counted("requests_total"), second.counted("requests_total")) == ({'status="201"': 1.0}, {})


def test_every_metric_begins_with_our_name_and_explains_itself() -> None:
    """Names are `eventgate_sidecar_…`, and each has words beside it."""
    for metric in Desk().telemetry.registry.collect():
        assert metric.name.startswith("eventgate_sidecar_")
        assert metric.documentation.endswith(".")
    assert telemetry.OTHER_STREAM == "_other"


def test_an_observer_is_told_what_is_logged_and_what_was_checked() -> None:
    """In the words of the log, and for how many of a kind a line stands; never of an event that went well."""
    desk = Desk()
    told: list[tuple[object, ...]] = []
    desk.telemetry.observer = lambda *line: told.append(line)
    for happening in (EventsEnded("s", "delivered", 1), Checked("u", "e", True, 0.1), Stopped(3)):
        desk.telemetry.emit(happening)
    assert told == [
        (logging.DEBUG, Checked("u", "e", True, 0.1), "", 1),
        (logging.INFO, Stopped(3), "stopped: unanswered=3", 1),
    ]
