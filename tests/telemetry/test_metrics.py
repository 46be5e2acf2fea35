"""Everything is counted, under labels that a producer cannot multiply."""

from __future__ import annotations

import re

from sidecar import __version__
from sidecar.telemetry.happenings import (
    Checked,
    ConfigLoaded,
    ConfigRefused,
    DeadLettered,
    DeadLettersDropped,
    EventsEnded,
    EventsSpooled,
    Happening,
    PostAnswered,
    PostFailed,
    Replayed,
    RequestAnswered,
    Resent,
    SpoolBroken,
    SpoolCommitted,
    SpoolMeasured,
    SpoolOpened,
    SpoolRefused,
)
from tests.telemetry.desk import Desk

USABLE = 'usable{directory="/spool"}'


def of_spool_after(*happenings: Happening) -> dict[str, float]:
    """Return all samples of the spool's metrics except those at 0."""
    desk = Desk()
    desk.after(*happenings)
    samples = (line.rpartition(" ") for line in desk.telemetry.exposition().decode().splitlines() if line[0] != "#")
    prefix = "eventgate_sidecar_spool_"
    counted = {name.removeprefix(prefix): float(value) for name, _, value in samples if name.startswith(prefix)}
    return {name: value for name, value in counted.items() if value and "_bucket" not in name}


def test_events_are_counted_by_stream_and_outcome() -> None:
    """Streams in routes.yaml are counted by name; all others share one label."""
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


def test_counters_of_trouble_start_at_0() -> None:
    """An alert sees the first refused event as an increase; earlier counts stay."""
    desk = Desk()
    desk.after(EventsEnded("known", "refused", 2, "no route"))
    desk.telemetry.know(["known"], ["all"], [])
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


def test_names_removed_from_the_configuration_leave_the_metrics() -> None:
    """A scrape has only the current names, however often they change; the totals stay complete."""
    desk, sizes = Desk(), []
    for number in range(3):
        stream, route, upstream = f"stream{number}", f"route{number}", f"upstream{number}"
        desk.telemetry.know([stream, "kept"], [route], [(upstream, "eqiad"), ("kept", "eqiad")])
        for name in (upstream, "kept"):
            desk.after(
                PostAnswered(name, "eqiad", 1, 0.01),
                Resent(name, "eqiad", 1),
                Checked(name, "eqiad", passed=True, seconds=0.01),
                Replayed(name, "delivered", 1),
            )
        desk.after(EventsEnded(stream, "delivered", 1, route=route), EventsSpooled(stream, 1))
        desk.after(EventsEnded("kept", "delivered", 1, route=route), EventsSpooled("kept", 1))
        sizes.append(len(desk.telemetry.exposition().splitlines()))
    shown = desk.telemetry.exposition().decode()
    assert len(set(sizes)) == 1
    assert not re.search("(stream|route|upstream)[01]", shown)
    assert desk.counted("events_total")['outcome="delivered",stream="kept"'] == 3.0
    assert desk.counted("health_checks_total")['endpoint="eqiad",result="passed",upstream="kept"'] == 3.0
    assert desk.telemetry.counts.ended == {"delivered": 6, "refused": 0, "failed": 0}


def test_posts_are_counted_by_result() -> None:
    """An endpoint's failures and its answers, by class."""
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


def test_the_time_to_answer_is_measured() -> None:
    """The histogram has every answer."""
    desk = Desk()
    desk.after(RequestAnswered(201, 0.003), RequestAnswered(503, 4.5))
    buckets = desk.counted("request_seconds_bucket")
    assert (buckets['le="0.0025"'], buckets['le="0.005"'], buckets['le="5.0"']) == (0.0, 1.0, 2.0)
    assert desk.counted("requests_total") == {'status="201"': 1.0, 'status="503"': 1.0}


def test_the_version_is_a_metric() -> None:
    """It shows which version a pod runs."""
    assert Desk().counted("info") == {f'version="{__version__}"': 1.0}


def test_two_in_one_process_share_no_numbers() -> None:
    """Each telemetry has its own registry; nothing is registered on import."""
    first, second = Desk(), Desk()
    first.after(RequestAnswered(201, 0.1))
    assert (first.counted("requests_total"), second.counted("requests_total")) == ({'status="201"': 1.0}, {})


def test_every_metric_has_the_prefix_and_a_help_text() -> None:
    """Names are `eventgate_sidecar_…`."""
    for metric in Desk().telemetry.registry.collect():
        assert metric.name.startswith("eventgate_sidecar_")
        assert metric.documentation.endswith(".")


def test_a_refused_file_can_be_alerted_on() -> None:
    """A gauge says that the file on disk is not the configuration in force."""
    loaded, refused = ConfigLoaded("routes.yaml", 4, 2, "env=staging"), ConfigRefused("routes.yaml", 1, "wrong")
    desk = Desk()
    desk.after(loaded, refused)
    assert b"\neventgate_sidecar_config_refused 1.0\n" in desk.telemetry.exposition()
    desk.after(loaded)
    assert b"\neventgate_sidecar_config_refused 0.0\n" in desk.telemetry.exposition()
    assert desk.counted("config_loads_total") == {'result="applied"': 2.0, 'result="refused"': 1.0}


def test_gauges_show_the_state_of_the_spool() -> None:
    """Whether it is usable, and how much it holds."""
    assert of_spool_after(SpoolOpened("/spool", 0, 0), SpoolMeasured(5, 1000, 2, 60.0)) == {
        USABLE: 1.0, "events": 5.0, "bytes": 1000.0, "dead_letters": 2.0, "oldest_seconds": 60.0,
    }  # fmt: skip
    assert USABLE not in of_spool_after(SpoolOpened("/spool", 0, 0), SpoolBroken("/spool", "disk full"))


def test_without_a_spool_none_is_broken() -> None:
    """An alert on an unusable spool does not fire in a pod without one."""
    assert "spool_usable{" not in Desk().telemetry.exposition().decode()


def test_spooled_events_are_counted_by_what_became_of_them() -> None:
    """Streams that routes.yaml does not name share one label."""
    assert of_spool_after(
        EventsSpooled("known", 3),
        EventsSpooled("made-up", 1),
        SpoolRefused("broken", "disk full", 2),
        Replayed("main", "delivered", 4),
        DeadLettered("made-up", "invalid", 1),
        DeadLettersDropped(6),
    ) == {
        'stored_events_total{stream="known"}': 3.0,
        'stored_events_total{stream="_other"}': 1.0,
        'refused_events_total{why="broken"}': 2.0,
        'replayed_events_total{result="delivered",upstream="main"}': 4.0,
        'buried_events_total{cause="invalid",stream="_other"}': 1.0,
        "dropped_dead_letters_total": 6.0,
    }


def test_commits_are_timed() -> None:
    """The time of the disk is a histogram."""
    counted = of_spool_after(SpoolCommitted(3, 0.25), SpoolCommitted(1, 0.5))
    assert (counted["commit_seconds_count"], counted["commit_seconds_sum"]) == (2.0, 0.75)
