"""The pure parts of the bench: wrk's output, medians, ratios, verdicts, changes, and how they are shown."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import pytest
import yaml

from bench import load, report
from bench.__main__ import main
from bench.cases import (
    BARS,
    CHECKED,
    DIRECT,
    ENVOY,
    HAPROXY,
    MANY,
    NGINX,
    OF_THE_SIDECAR,
    ONE,
    ORDERED,
    SIDECAR,
    SOME,
    SPOOLED,
    Case,
)
from bench.figures import (
    Change,
    Figures,
    Verdict,
    changes,
    from_json,
    gross_regressions,
    median,
    ratio,
    to_json,
    verdicts,
)
from bench.idle import Idle, shipped_routes, wakeups
from bench.measure import Plan
from bench.processes import ticks_in
from bench.upstream import Upstream, UpstreamError, given
from sidecar.routes.language import loader

WRK = """Running 2s test @ http://127.0.0.1:1/v1/events
  1 threads and 64 connections

RESULT {"requests": 8000, "microseconds": 2000000, "p50": 7390, "p99": 14380, "status": 0, "others": 0, "socket": 0}
"""
TABLE = {
    ONE.name: {DIRECT: Figures(p50_ms=0.2), SIDECAR: Figures(p50_ms=0.5), ENVOY: Figures(p50_ms=0.4)},
    SOME.name: {DIRECT: Figures(events_per_s=5000.0), SIDECAR: Figures(events_per_s=10000.0)},
    MANY.name: {
        DIRECT: Figures(events_per_s=5000.0),
        SIDECAR: Figures(events_per_s=6000.0, rss_mib=36.0, ready_s=0.3),
        ENVOY: Figures(events_per_s=4000.0, rss_mib=60.0),
    },
}


def a_run() -> report.Run:
    """Return a run of TABLE in which nginx was left out."""
    return report.Run(
        "EventGate 1.8.4", "1.0", "Python 3.11.2 (the system’s)", 2, 3, 2, {NGINX: "not installed"}, TABLE
    )


def test_the_output_of_wrk_is_parsed() -> None:
    """The line of load.lua becomes requests, seconds, milliseconds and failures."""
    assert load.parse(WRK) == load.Load(8000, 2.0, 7.39, 14.38, 0)


def test_a_refused_answer_counts_once() -> None:
    """An answer that both wrk and load.lua count as failed is one failure; a broken connection is another."""
    said = WRK.replace('"status": 0, "others": 0, "socket": 0', '"status": 3, "others": 4, "socket": 2')
    assert load.parse(said).failed == 6


def test_wrk_without_a_result_is_an_error() -> None:
    """If wrk could not connect, the error has its output."""
    with pytest.raises(load.LoadError, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:1 Connection refused")


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk makes the load")
def test_an_unreachable_upstream_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """For a mistyped port it says what refuses the connection, without a traceback."""
    assert main(["--check", "--upstream", "http://127.0.0.1:1"]) == 2
    assert capfd.readouterr().err.endswith("unable to connect to 127.0.0.1:1 Connection refused\n")


@pytest.mark.parametrize("kilobytes", [1, 10])
def test_events_have_the_size_of_the_case(kilobytes: int) -> None:
    """An event with its ids is as long as the case says, within one topic."""
    event = load.event(kilobytes).replace(load.ID, "0" * load.UUID_LENGTH)
    assert 0 <= len(event) - 1000 * kilobytes < 60
    assert json.loads(event)["meta"]["stream"] == load.STREAM


def test_median_of_each_figure() -> None:
    """Each figure has its own median; a figure that no run has stays missing."""
    runs = [Figures(events_per_s=float(n), p50_ms=float(10 - n)) for n in (1, 5, 2)]
    assert median(runs) == Figures(events_per_s=2.0, p50_ms=8.0)


def test_one_failed_run_fails_the_median() -> None:
    """A median hides no run with an answer other than 2xx."""
    assert median([Figures(events_per_s=1.0), Figures(why="3 answers")]) == Figures(why="3 answers")


def test_ratio_needs_both() -> None:
    """There is a ratio only if both setups were measured."""
    assert ratio(TABLE, SOME.name, SIDECAR, DIRECT) == 2.0
    assert ratio(TABLE, SOME.name, SIDECAR, ENVOY) is None
    assert ratio(TABLE, "no such case", SIDECAR, DIRECT) is None


def test_each_bar_has_a_verdict() -> None:
    """It uses the bar's own case, figure and direction."""
    held = {each.bar.figure: each.words for each in verdicts(TABLE) if each.value is not None}
    assert held == {"events_per_s": "not held", "p50_ms": "not held", "rss_mib": "held", "ready_s": "held"}
    assert {each.words for each in verdicts({})} == {"not measured"}


@pytest.mark.parametrize(("value", "held"), [(4.5, True), (4.49, False), (None, None)])
def test_a_value_at_the_bar_holds(value: float | None, held: bool | None) -> None:
    """One under it does not; a missing value is neither."""
    assert Verdict(BARS[0], value).held is held


def test_the_check_fails_for_gross_regressions_only() -> None:
    """It fails below half of the last written value or of the bar, not above it, and not for a missing Envoy."""
    without_envoy = {case: {way: each for way, each in row.items() if way != ENVOY} for case, row in TABLE.items()}
    fine = {
        case.name: {DIRECT: Figures(events_per_s=2000.0), SIDECAR: Figures(events_per_s=6000.0)} for case in CHECKED
    }
    assert gross_regressions(fine, {}) == []
    assert gross_regressions(without_envoy, {}) == [
        "events/s, 64 at once, sidecar ÷ direct: 2.00, and half of the bar is 2.25",
        "events/s, 256 at once, sidecar ÷ direct: 1.20, and half of the bar is 2.75",
    ]
    quick = {MANY.name: {DIRECT: Figures(events_per_s=1000.0), SIDECAR: Figures(events_per_s=6200.0)}}
    assert gross_regressions(fine, quick) == [
        "events/s, 256 at once, sidecar ÷ direct: 3.00, and half of what was written last is 3.10"
    ]
    assert gross_regressions(without_envoy, without_envoy) == []


def test_changes_compare_ratios() -> None:
    """A slower machine is not a change; a slower sidecar is."""
    slow = {case: {way: halved(figures) for way, figures in row.items()} for case, row in TABLE.items()}
    assert {each.percent for each in changes(slow, TABLE)} == {0.0}
    worse = {SOME.name: {**TABLE[SOME.name], SIDECAR: Figures(events_per_s=5000.0)}}
    assert changes(worse, TABLE) == [Change(SOME.name, DIRECT, 2.0, 1.0)]
    assert "2.00 → 1.00 (-50 %)  WORSE" in report.changed(changes(worse, TABLE))


def halved(figures: Figures) -> Figures:
    """Halve the events per second."""
    return dataclasses.replace(figures, events_per_s=figures.events_per_s and figures.events_per_s / 2)


def test_results_survive_their_file() -> None:
    """results.json gives back the same results, to four digits."""
    assert from_json(json.loads(json.dumps(to_json(TABLE)))) == TABLE


def test_the_terminal_shows_what_failed_and_what_was_left_out() -> None:
    """A failed run is shown with its reason, and a setup that was left out with its name."""
    table = {SOME.name: {DIRECT: Figures(events_per_s=5000.0), HAPROXY: Figures(why="3 answers")}}
    shown = report.terminal(dataclasses.replace(a_run(), table=table))
    assert "HAProxy" in shown
    assert "failed: 3 answers" in shown
    assert "LEFT OUT  nginx + Lua: not installed" in shown


def test_the_page_shows_every_line_and_every_bar() -> None:
    """docs/performance.md has a row for each setup and each bar, and names the upstream."""
    page = report.markdown([a_run()])
    assert "## Against EventGate 1.8.4" in page
    assert "| sidecar | 10,000 | 2.00 |" in page
    assert all(bar.what in page for bar in BARS)
    assert "**not held**" in page


def test_disturbed_runs_are_named() -> None:
    """Figures measured while other programs used the machine have a warning."""
    assert not report.disturbed(TABLE)
    assert "30% at worst" in report.disturbed({SOME.name: {DIRECT: Figures(others=0.3), SIDECAR: Figures(others=0.0)}})


def test_the_setups_take_turns() -> None:
    """In a repetition every setup runs in each case, and each repetition begins with another setup."""
    order = [way for _, way in Plan([SOME], [DIRECT, SIDECAR, ENVOY], 3, 2).order()]
    assert order == [DIRECT, SIDECAR, ENVOY, SIDECAR, ENVOY, DIRECT, ENVOY, DIRECT, SIDECAR]


def test_the_least_stable_case_is_measured_most() -> None:
    """*One at a time* runs five times per repetition, and the setups take turns there, too."""
    plan = Plan([ONE, SOME], [DIRECT, ENVOY], 2, 2)
    order = list(plan.order())
    assert len(plan) == len(order) == 2 * (5 * 2 + 2)
    assert [way for case, way in order[:12] if case == ONE] == [DIRECT, ENVOY, ENVOY, DIRECT] * 2 + [DIRECT, ENVOY]
    assert order.count((ONE, ENVOY)) == 10
    assert order.count((SOME, ENVOY)) == 2


def test_the_spool_is_measured_with_single_small_events() -> None:
    """`acknowledge: spooled` is a setup only in the cases where its figures mean something."""
    many = Case(16, array=32)
    plan = Plan([SOME, many], [DIRECT, SPOOLED], 1, 2)
    assert list(plan.order()) == [(SOME, DIRECT), (SOME, SPOOLED), (many, DIRECT)]
    assert len(plan) == 3


def test_features_of_the_sidecar_are_measured_with_it_alone() -> None:
    """Routes, streams and idle connections; `order_by` only if events are stored first."""
    plan = Plan([*OF_THE_SIDECAR, ORDERED], [DIRECT, SIDECAR, SPOOLED], 1, 2)
    assert list(plan.order()) == [*((case, SIDECAR) for case in OF_THE_SIDECAR), (ORDERED, SPOOLED)]
    assert [case.name.partition("at once, ")[2] for case, _ in plan.order()] == [
        *("1,000 routes", "5,000 streams", "1,900 idle connections", "order_by")
    ]


def test_the_picture_shows_single_small_events() -> None:
    """It shows only 1 kB events without TLS on persistent connections."""
    table = {Case(16, tls=True).name: TABLE[SOME.name], Case(64, close=True).name: TABLE[SOME.name], **TABLE}
    (panel,) = report.drawing([dataclasses.replace(a_run(), table=table)])
    assert panel["lines"] == {
        "direct": {"64": 5000.0, "256": 5000.0},
        "sidecar": {"64": 10000.0, "256": 6000.0},
        "Envoy": {"256": 4000.0},
    }


def test_a_process_with_an_odd_name_has_its_processor_time() -> None:
    """The name in /proc/PID/stat may contain spaces and parentheses."""
    assert ticks_in("7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16") == (11, 12, 13, 14)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1/v1/events"])
def test_an_upstream_may_be_given_as_host_and_port(url: str) -> None:
    """Path and scheme may be left out."""
    assert given(url).url == "http://127.0.0.1:1/v1/events"


def test_an_upstream_with_another_path_is_refused() -> None:
    """No event would go there."""
    with pytest.raises(UpstreamError, match=r"is not http\[s\]://HOST:PORT"):
        given("http://127.0.0.1:1/v2/things")


def test_an_idle_sidecar_is_compared_with_its_bar() -> None:
    """The line has the measured value and whether the bar holds."""
    found = Idle(60.0, 0.15, 600, 51.2)
    assert (str(found), found.holds) == (
        "idle for 60 s: 0.25 % of a core (bar 0.3 %), 10.0 wake-ups/s, 51 MiB",
        True,
    )
    assert not Idle(60.0, 0.25, 600, 51.2).holds


def test_an_idle_sidecar_has_the_shipped_routes() -> None:
    """It checks all upstreams and datacenters of the shipped file over TLS, on this machine only."""
    config = loader.read(yaml.safe_dump(shipped_routes(Upstream("127.0.0.1", 4492, tls=True, pid=None))))
    urls = [url for upstream in config.upstreams.values() for _, url in upstream.endpoints]
    assert urls == [f"https://{each}localhost:4492/v1/events" for each in ("", "eqiad.", "codfw.")]


def test_wakeups_are_counted() -> None:
    """The count includes all threads of a process."""
    assert wakeups(os.getpid()) > 0
