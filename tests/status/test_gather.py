"""Promises of `gather`: the state of all parts becomes one value."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from sidecar.routes.routing import Router
from sidecar.spool.record import Quota, SpoolState, Totals
from sidecar.status.gather import InForce, Sources, status_now, tried_now
from sidecar.status.value import HopNow, MirrorNow
from sidecar.telemetry.counts import Counts
from sidecar.telemetry.happenings import HealthChanged
from sidecar.telemetry.history import History
from sidecar.upstreams.health import Health
from tests.anyroutes import config_of
from tests.scripted import CODFW, EQIAD, ESAMS, at, make_pool, out

WALL, CLOCK = 1_800_000_000.0, 10_000.0
FILE: dict[str, Any] = {
    "version": 1,
    "upstreams": {"main": {"url": "http://main/v1/events"}},
    "routes": [{"name": "all", "match": {"labels": {"env": "staging"}}, "to": "main"}],
}
CONFIGURATION = {"file": "f", "in_force": "f", "digest": "d", "since": WALL, "refused": None, "problems": []}


def sources(spool: SpoolState | None = None, config: dict[str, Any] = FILE, **places: str) -> Sources:
    """Return the sources of a sidecar with one upstream, `main`, all healthy."""
    parsed = config_of(config)
    now = InForce(
        parsed, Router(parsed, {"env": "staging"}), {"main": make_pool({name: [ip] for name, ip in places.items()})}
    )
    counts = Counts()
    for stream, route, outcome, count in (
        ("s", "all", "delivered", 5),
        ("s", "all", "failed", 0),
        ("_other", "all", "refused", 3),
        ("_other", "_none", "refused", 4),
    ):
        counts.flow(stream, route, outcome, count)
    counts.mirrored |= {("all", "copies", "sent"): 3, ("all", "copies", "full"): 1}
    return Sources(
        in_force=lambda: now,
        configuration=lambda: CONFIGURATION,
        spool=lambda: spool,
        counts=counts,
        history=History(lambda: CLOCK),
        clock=lambda: CLOCK,
        wall=lambda: WALL,
        started=WALL - 60,
    )


def test_health_is_shown() -> None:
    """State, reason and times, the latter for people."""
    known = sources(eqiad=EQIAD, codfw=CODFW)
    pool = known.in_force().pools["main"]
    out(pool, Health.UNHEALTHY, EQIAD)
    at(pool, EQIAD).standing.since = CLOCK - 100
    known.history.observe(30, HealthChanged("main", "eqiad", EQIAD, "healthy", "unhealthy", "x"), "", 1)
    (main,) = status_now(known).upstreams
    eqiad, codfw = (each.addresses[0] for each in main.endpoints)
    assert (main.used, main.first) == (True, "codfw")
    assert (eqiad.health, eqiad.since, codfw.health) == ("unhealthy", WALL - 100, "healthy")


def test_the_last_hour_starts_with_the_state_at_that_time() -> None:
    """A change two hours ago decides the state of one hour ago."""
    time = [CLOCK - 7200]
    history = History(lambda: time[0])
    known = dataclasses.replace(sources(eqiad=EQIAD, codfw=CODFW), history=history)
    for before, after, passes in (("unknown", "healthy", 7000), ("healthy", "unhealthy", 200)):
        history.observe(30, HealthChanged("main", "eqiad", EQIAD, before, after, "x"), "", 1)
        time[0] += passes
    spans = status_now(known).upstreams[0].endpoints[0].addresses[0].spans
    assert [(each.begin, each.health) for each in spans] == [(WALL - 3600, "healthy"), (WALL - 200, "unhealthy")]


def test_streams_and_the_spool_are_shown() -> None:
    """Streams with events, the busiest first; the usage of the spool, and its dead letters."""
    totals = Totals(events=3, size=100, dead=1, dead_size=11, upstreams={"main": 3})
    now = status_now(sources(SpoolState("/d", "", totals, Quota(), 4.0, 2), main=EQIAD))
    assert [(each.title, each.routes, dict(each.outcomes)) for each in now.streams] == [
        ("other streams", ("all",), {"refused": 7}),
        ("s", ("all",), {"delivered": 5}),
    ]
    assert now.spool is not None
    assert (now.spool.events, now.spool.bytes, now.spool.dead_letters, now.spool.in_flight) == (3, 111, 1, 2)


def test_hand_overs_are_shown() -> None:
    """Since the start and in the last minute, to the gateway by result, and from pods by their labels and upstream."""
    known = sources(SpoolState("/d", "", Totals(), Quota(), 0.0, 0, False, "gateway", "it is full"), main=EQIAD)
    known.counts.handed_over["taken"] = 7
    known.history.measure(known.counts)
    known.counts.handed_over["taken"] += 1
    known.counts.take_over("env=staging", "main", 2)
    known.counts.take_over("env=staging", "lab", 3)
    now = status_now(known)
    assert now.spool is not None
    assert (now.spool.handed_over, now.spool.taken_over) == ({"taken": 8}, {"env=staging": 5})
    taken = {"env=staging": {"main": 2 * 60, "lab": 3 * 60}}
    assert now.spool.hop == HopNow("gateway", "it is full", {"taken": 60}, taken)


@pytest.mark.parametrize(("full", "percent"), [(False, 97), (True, 100)], ids=["nearly full", "full"])
def test_a_spool_that_refuses_events_is_shown_as_full(*, full: bool, percent: int) -> None:
    """Even if the last percent is free but too small for the next event."""
    now = status_now(sources(SpoolState("/d", "", Totals(taken=0.979), Quota(), 4.0, 2, full), main=EQIAD))
    assert now.spool is not None
    assert (now.spool.full, now.spool.percent) == (full, percent)


@pytest.mark.parametrize(
    ("oldest", "lasts"), [(600.0, 3600.0), (6.0, 360.0)], ids=["for a minute and more", "for a moment"]
)
def test_the_time_until_the_spool_is_full_goes_by_the_last_minute(oldest: float, lasts: float) -> None:
    """By the size of its events on disk, which is more than their bytes."""
    known = sources(SpoolState("/d", "", Totals(events=600, size=1, taken=0.5), Quota(), oldest, 0), main=EQIAD)
    known.history.measure(known.counts)
    known.counts.events["s", "spooled"] += 10
    known.history.measure(known.counts)
    now = status_now(known)
    assert now.spool is not None
    assert now.spool.lasts_seconds == pytest.approx(lasts)


def test_each_route_has_its_count() -> None:
    """Of its own events, whatever their streams are called; events without a route are in none."""
    known = sources(main=EQIAD)
    (route,) = status_now(known).routes
    assert (route.name, dict(route.outcomes)) == ("all", {"delivered": 5, "refused": 3})


def test_a_mirror_is_shown_with_results_of_its_copies() -> None:
    """Beside its route; its upstream is in use, even if it only gets copies."""
    upstreams = {**FILE["upstreams"], "copies": {"url": "http://copies/v1/events"}}
    routes = [{**FILE["routes"][0], "mirror": {"to": "copies", "percent": 5}}]
    now = status_now(sources(config={**FILE, "upstreams": upstreams, "routes": routes}, main=EQIAD))
    assert now.routes[0].mirror == MirrorNow("copies", None, 5, {"sent": 3, "full": 1})
    assert [(each.used, each.only_copies) for each in now.upstreams] == [(True, False)]


def test_addresses_are_in_the_order_of_use() -> None:
    """Healthy ones by preference; those that are out come last, without a rank."""
    pool = make_pool({"eqiad": [EQIAD], "codfw": [CODFW], "esams": [ESAMS]})
    out(pool, Health.EJECTED, EQIAD)
    found = tried_now(pool, 100.0)
    assert [(each["endpoint"], each["place"]) for each in found] == [("codfw", 1), ("esams", 2), ("eqiad", None)]
    assert found[2]["state"].startswith("ejected")
    out(pool, Health.UNHEALTHY, EQIAD, CODFW, ESAMS)
    at(pool, ESAMS).standing.last_answer = 50.0
    assert [each["endpoint"] for each in tried_now(pool, 100.0) if each["place"] == 1] == ["esams"]
    assert json.dumps(found)
