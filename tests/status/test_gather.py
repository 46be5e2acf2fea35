"""Promises of `statuspage`: what the parts of a sidecar know is on one page, and only this machine reads it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from sidecar.serve.generation import Generation
from sidecar.spool.record import Limits, Totals
from sidecar.spool.store import SpoolState
from sidecar.status.ask import status_of
from sidecar.status.gather import Sources, status_now, status_routes
from sidecar.status.sse import Streams
from sidecar.telemetry.history import History
from sidecar.telemetry.telemetry import HealthChanged
from sidecar.upstreams.health import Health
from tests.anyroutes import config_of
from tests.fakes import PATIENCE, FakeEventGate, eventually, hanging
from tests.running import reading, sidecar, to_one
from tests.scripted import CODFW, EQIAD, Recorder, at, make_pool, out
from tests.status.test_http import FILE

WALL, CLOCK = 1_800_000_000.0, 10_000.0
CONFIGURATION = {"file": "f", "in_force": "f", "digest": "d", "since": WALL, "refused": None, "problems": []}


def sources(spool: SpoolState | None = None, **places: str) -> Sources:
    """Return what is known of a sidecar with one upstream, `main`, all healthy."""
    generation = Generation(config_of(FILE), {"env": "staging"}, Recorder())
    generation.pools["main"] = make_pool({name: [ip] for name, ip in places.items()})
    return Sources(
        generation=lambda: generation,
        configuration=lambda: CONFIGURATION,
        spool=lambda: spool,
        events={("s", "delivered"): 5, ("s", "failed"): 0, ("_other", "refused"): 7, ("idle", "failed"): 0},
        routed={("all", "delivered"): 5, ("all", "refused"): 3, ("all", "failed"): 0, ("_none", "refused"): 4},
        history=History(lambda: CLOCK),
        clock=lambda: CLOCK,
        wall=lambda: WALL,
        started=WALL - 60,
    )


async def asked(path: str, peer: str = "127.0.0.1", host: str = "localhost:8888") -> httpx.Response:
    """Ask as this peer, calling it by this name."""
    app = Starlette(routes=status_routes(sources(eqiad=EQIAD), Streams(2, 2.0)))
    transport = httpx.ASGITransport(app, client=(peer, 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
        return await client.get(path, headers={"host": host})


def test_what_health_knows_is_shown() -> None:
    """State, reason and times, as those of people."""
    known = sources(eqiad=EQIAD, codfw=CODFW)
    pool = known.generation().pools["main"]
    out(pool, Health.UNHEALTHY, EQIAD)
    at(pool, EQIAD).standing.since = CLOCK - 100
    known.history.observe(30, HealthChanged("main", "eqiad", EQIAD, "healthy", "unhealthy", "x"), "", 1)
    (main,) = status_now(known).upstreams
    eqiad, codfw = (each.addresses[0] for each in main.endpoints)
    assert (main.used, main.first) == (True, "codfw")
    assert (eqiad.health, eqiad.since, codfw.health) == ("unhealthy", WALL - 100, "healthy")


def test_the_last_hour_begins_with_what_was_true_then() -> None:
    """A change of two hours ago decides how an address stood one hour ago."""
    time = [CLOCK - 7200]
    history = History(lambda: time[0])
    known = dataclasses.replace(sources(eqiad=EQIAD, codfw=CODFW), history=history)
    for before, after, passes in (("unknown", "healthy", 7000), ("healthy", "unhealthy", 200)):
        history.observe(30, HealthChanged("main", "eqiad", EQIAD, before, after, "x"), "", 1)
        time[0] += passes
    spans = status_now(known).upstreams[0].endpoints[0].addresses[0].spans
    assert [(each.begin, each.health) for each in spans] == [(WALL - 3600, "healthy"), (WALL - 200, "unhealthy")]


def test_streams_and_the_spool_are_shown() -> None:
    """The busiest first, and none without events; of the spool how full it is, dead letters too."""
    totals = Totals(events=3, size=100, dead=1, dead_size=11, upstreams={"main": 3})
    now = status_now(sources(SpoolState("/d", "", totals, Limits(), 4.0, 2), main=EQIAD))
    assert [(each.stream, dict(each.outcomes)) for each in now.streams] == [
        ("_other", {"refused": 7}),
        ("s", {"delivered": 5}),
    ]
    assert now.spool is not None
    assert (now.spool.events, now.spool.bytes, now.spool.dead_letters, now.spool.in_flight) == (3, 111, 1, 2)


def test_each_route_has_its_count() -> None:
    """Of exactly the events that it took, whatever their streams are called; none of it is what no route took."""
    known = sources(main=EQIAD)
    (route,) = status_now(known).routes
    assert (route.name, dict(route.outcomes)) == ("all", {"delivered": 5, "refused": 3})


@pytest.mark.parametrize("path", ["/_sidecar/status", "/_sidecar/status.json", "/_sidecar/status/live"])
async def test_only_this_machine_reads_it(path: str) -> None:
    """Nobody else, and no page of another name in a browser here."""
    assert path.endswith("live") or (await asked(path)).status_code == 200  # that one does not end
    assert (await asked(path, peer="10.2.2.45")).status_code == 403
    assert (await asked(path, host="evil.example")).status_code == 403


async def test_the_page_comes_with_its_policy() -> None:
    """Nothing but itself is loaded, and no proxy keeps it."""
    answer = await asked("/_sidecar/status")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"


# --- a whole sidecar ---


async def test_a_sidecar_says_that_all_is_well(tmp_path: Path) -> None:
    """With where events go, and those that went, under the route that took them."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:
        assert (await running.post(b'{"meta":{"stream":"s"}}')).status == 201
        answer = await running.get("/_sidecar/status", running.address)
        assert (answer.status, "All well: main → " in answer.body.decode()) == (200, True)
        found: dict[str, Any] = json.loads((await running.get("/_sidecar/status.json", running.address)).body)
        known = await asyncio.to_thread(status_of, running.address)
    assert known["sentence"].startswith("All well: main → ")
    (stream,) = found["streams"]
    assert (stream["outcomes"], found["level"]) == ({"delivered": 1}, "well")
    assert found["upstreams"][0]["endpoints"][0]["addresses"][0]["spans"][-1]["health"] == "healthy"


async def test_a_page_is_live(tmp_path: Path) -> None:
    """The whole of it comes again and again, and says what has changed."""
    async with (
        FakeEventGate() as gate,
        sidecar(to_one(gate.address), tmp_path) as running,
        reading("/_sidecar/status/live", running.address) as pages,
    ):
        first = await anext(pages)
        assert (first.startswith("<!doctype html>"), "No event came yet." in first) == (True, True)
        assert (await running.post(b'{"meta":{"stream":"s"}}')).status == 201
        async with asyncio.timeout(PATIENCE):
            while "other streams" not in await anext(pages):
                pass


async def test_a_page_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """It ends, properly, and the sidecar after it."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path, drain=0.0) as running:
        async with reading("/_sidecar/status/live", running.address) as pages:
            await anext(pages)
            os.kill(os.getpid(), signal.SIGTERM)
            assert [page async for page in pages] == []
        async with asyncio.timeout(2):
            await running.task


async def test_a_sidecar_says_that_its_only_datacenter_hangs(tmp_path: Path) -> None:
    """And that there is no spool."""
    checks = {"interval": "100ms", "timeout": "100ms"}
    with hanging() as address:
        async with sidecar(to_one(address, health_check=checks), tmp_path) as running:
            await eventually(lambda: "unhealthy" in running.written.getvalue())
            words = (await running.get("/_sidecar/status", running.address)).body.decode()
    assert "main: no datacenter answers" in words
    assert "There is no spool: events fail, and model servers get 503" in words
