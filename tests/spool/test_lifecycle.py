"""The spool of a whole sidecar: its events are sent when an endpoint is available, and kept at the end."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.delivery.coalescer import Coalescer
from sidecar.delivery.sender import Sender
from sidecar.errors import SettingError
from sidecar.routes.routing import Router
from sidecar.spool.lifecycle import END_SECONDS, OPEN_SECONDS, Spooling, written
from sidecar.spool.record import Spooled, line_of
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry
from sidecar.upstreams.endpoints import Pool
from tests.anyroutes import config_of
from tests.fakes import FakeEventGate, eventually, refusing
from tests.running import Running, sidecar, to_one
from tests.scripted import bare_pool
from tests.spool.spools import AtOnce, fill, open_spool, spool_file, spooled, waiting

EVENT = b'{"meta":{"stream":"s","id":"%d"},"page":{"id":7}}'
QUICK: dict[str, Any] = {
    "timeouts": {"connect": "100ms", "attempt": "200ms", "deadline": "2s"},
    "health_check": {"interval": "200ms", "timeout": "100ms"},
}


REJECT = {"name": "none", "match": {"stream": "*"}, "reject": "not today"}


def config(address: str, **route: object) -> dict[str, Any]:
    """A `routes.yaml` with one route and one upstream, which is checked often."""
    made: dict[str, Any] = to_one(address, **QUICK)
    made["routes"][0] |= route
    return made


def held(running: Running) -> int:
    """The number of waiting events."""
    spooling = running.runtime._spooling
    assert spooling is not None
    return spooling.state.totals.events


async def test_an_event_that_nobody_takes_is_answered_202_and_kept(tmp_path: Path) -> None:
    """The score is not lost, and the inference goes on."""
    with refusing() as address:
        async with sidecar(config(address), tmp_path, spool=tmp_path / "spool") as running:
            seen = await running.post(EVENT % 1)
            assert (seen.status, seen.reason) == (202, "1 events hastily received.")
            assert seen.headers["x-eventgate-sidecar"] == "spooled; upstream=main; route=all"
    assert waiting(tmp_path / "spool") == [1]


async def test_what_a_spool_holds_is_sent_by_the_next_sidecar(tmp_path: Path) -> None:
    """It outlives the process: the next sidecar with the directory sends it, byte for byte."""
    with refusing() as address:
        async with sidecar(config(address), tmp_path, spool=tmp_path / "spool") as running:
            assert (await running.post(EVENT % 1)).status == 202
    async with FakeEventGate() as gate, sidecar(config(gate.address), tmp_path, spool=tmp_path / "spool") as running:
        (request,) = await gate.received(1)
        assert request.body == EVENT % 1
        await eventually(lambda: held(running) == 0)


async def test_an_acknowledged_event_is_sent_afterwards(tmp_path: Path) -> None:
    """With `acknowledge: spooled` EventGate gets the event a moment later."""
    async with FakeEventGate() as gate:
        routes = config(gate.address, acknowledge="spooled")
        async with sidecar(routes, tmp_path, spool=tmp_path / "spool") as running:
            assert (await running.post(EVENT % 1)).status == 202
            assert [each.body for each in await gate.received(1)] == [EVENT % 1]
            await eventually(lambda: held(running) == 0)


@pytest.mark.parametrize(
    ("route", "upstream", "words"),
    [
        ({"acknowledge": "spooled"}, {}, "route all has acknowledge: spooled"),
        ({"order_by": ["page.id"]}, {}, "route all has order_by"),
        ({}, {"on_ambiguous": "spool"}, "upstream main has on_ambiguous: spool"),
    ],
)
async def test_what_needs_a_spool_is_refused_without_one(
    tmp_path: Path, route: dict[str, object], upstream: dict[str, object], words: str
) -> None:
    """The message says to configure one, before any event is taken."""
    routes = config("127.0.0.1:1", **route)
    routes["upstreams"]["main"] |= upstream
    with pytest.raises(SettingError) as refusal:
        async with sidecar(routes, tmp_path):
            pass
    assert str(refusal.value) == f"{words}, and there is no spool; give it a directory with --spool DIR"


async def test_what_is_left_can_be_written_out_at_the_end(tmp_path: Path) -> None:
    """In order, in flight or not, a few at a time, and nothing if the disk is in trouble."""
    events = [spooled(number) for number in range(1, 451)]
    async with open_spool(tmp_path / "spool", hand=AtOnce()) as opened:
        await opened.put(events)
        await opened.spool.hand_out("main", 5, 10**6)
        lines: list[bytes] = []
        assert [count async for count in written(opened.spool, lines.append)] == [200, 400, 450]
        assert lines == [line_of(event) for event in events]
        with spool_file(tmp_path / "spool") as theirs, theirs.transaction():
            theirs._connection.execute("UPDATE waiting SET body = x'7b7d' WHERE arrival <= 200")
        assert [count async for count in written(opened.spool, lines.append)] == [0, 200, 250]
        (tmp_path / "spool" / "spool.db").unlink()
        assert [count async for count in written(opened.spool, print)] == []


def test_an_event_is_routed_again_only_by_other_rules(tmp_path: Path) -> None:
    """The rules that it came under would decide the same; those after an edit or a restart may not."""
    no_routes = config_of({"version": 1, "upstreams": {"main": {"url": "http://a/v1/events"}}, "routes": [REJECT]})
    telemetry = Telemetry([], make_log(io.StringIO()))
    spooling, idle = Spooling(tmp_path, telemetry), Coalescer(Sender({}, telemetry, lambda: 0.5), {}, telemetry)

    def routed(event: Spooled) -> Spooled | str:
        return spooling._replay._passage.route(event)

    first, second = (spooling.keeping({}, idle) for _ in range(2))
    event = spooled(1, came_as="score", routed_by=first.number)
    spooling.follow({}, first, lambda _: False, Router(no_routes, {}))
    assert routed(event) is event
    assert isinstance(routed(spooled(2, came_as="score")), str)
    spooling.follow({}, second, lambda _: False, Router(no_routes, {}))
    assert isinstance(routed(event), str)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("after", "reported"),
    [
        ({"main": bare_pool()}, []),
        (
            {"main": bare_pool(url="http://b/v1/events")},
            [("main", 1, "http://eqiad:80/v1/events", "http://b/v1/events")],
        ),
        ({}, [("main", 1, "http://eqiad:80/v1/events", "")]),
    ],
    ids=["unchanged", "another URL", "removed"],
)
async def test_waiting_events_of_a_changed_upstream_are_reported(
    tmp_path: Path, after: dict[str, Pool], reported: list[tuple[str, int, str, str]]
) -> None:
    """They are routed by the new rules, perhaps elsewhere; the first configuration changes nothing."""
    fill(tmp_path, spooled(1))
    written = io.StringIO()
    telemetry = Telemetry([], make_log(written))
    spooling = Spooling(tmp_path, telemetry, hand=AtOnce())
    idle = Coalescer(Sender({}, telemetry, lambda: 0.5), {}, telemetry)
    router = Router(config_of({"version": 1, "upstreams": {"main": {"url": "http://a/v1"}}, "routes": [REJECT]}), {})
    async with asyncio.TaskGroup() as tasks:
        await spooling.start(tasks)
        for pools in ({"main": bare_pool()}, after):
            spooling.follow(pools, spooling.keeping(pools, idle), lambda _: True, router)
        await spooling.end(prints=False, until=0.0)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    told = [line["eventgate_sidecar"] for line in lines if line["event"]["action"] == "SpoolRerouted"]
    assert [(each["upstream"], each["count"], each["before"], each["after"]) for each in told] == reported


class Handing:
    """A hand-over that takes a moment."""

    host = "gateway.example"
    trouble = ""

    def __init__(self) -> None:
        """Nothing is handed over yet."""
        self.done = False
        self.knows: object = None

    async def early(self, failing: set[str], leaving: Callable[[], bool]) -> None:
        """Note what it may know."""
        self.knows = failing, leaving()

    def stop(self) -> None:
        """It ends by itself."""

    async def rest(self) -> None:
        """Hand over."""
        await asyncio.sleep(1.0)
        self.done = True

    def close(self) -> None:
        """There is no connection."""


@pytest.mark.looptime
@pytest.mark.parametrize(("until", "done"), [(1.0, True), (0.0, False)])
async def test_a_hand_over_has_a_moment_even_if_the_drain_is_over(tmp_path: Path, until: float, done: bool) -> None:
    """Requests in flight may have used it up; after a second signal nothing is handed over."""
    spooling = Spooling(tmp_path, Telemetry([], make_log(io.StringIO())), hand=AtOnce())
    async with asyncio.TaskGroup() as tasks:
        await spooling.start(tasks)
        await asyncio.sleep(until)
        handing: Any = Handing()
        spooling._handing = handing
        await spooling.end(prints=False, until=until)
    assert handing.done is done


@pytest.mark.looptime
async def test_what_a_nearly_full_spool_holds_is_handed_over_early(tmp_path: Path) -> None:
    """From the start, with what replay knows of upstreams that fail."""
    spooling = Spooling(tmp_path, Telemetry([], make_log(io.StringIO())), hand=AtOnce())
    handing: Any = Handing()
    spooling._handing = handing
    async with asyncio.TaskGroup() as tasks:
        await spooling.start(tasks)
        await asyncio.sleep(0.1)
        await spooling.end(prints=False, until=0.0)
    assert handing.knows == (set(), False)


class Slow(AtOnce):
    """A disk that takes its time for everything."""

    def __init__(self, seconds: float) -> None:
        """So long."""
        self._seconds = seconds

    async def do(self, work: Callable[[], Any]) -> Any:
        """Do it, but later."""
        await asyncio.sleep(self._seconds)
        return await super().do(work)


@pytest.mark.looptime
async def test_printing_what_is_left_has_an_end(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """After 5 s, with what was read by then; the rest is counted."""
    fill(tmp_path, *(spooled(number) for number in range(1, 2001)))
    log = io.StringIO()
    spooling = Spooling(tmp_path, Telemetry([], make_log(log)), hand=Slow(1.0))
    clock = asyncio.get_running_loop().time
    async with asyncio.TaskGroup() as tasks:
        await spooling.start(tasks)
        began = clock()
        await spooling.end(prints=True, until=0.0)
        assert clock() - began < 3 * END_SECONDS
    (told,) = (
        each for each in map(json.loads, log.getvalue().splitlines()) if each["event"]["action"] == "SpoolNotPrinted"
    )
    printed = capsysbinary.readouterr().out.count(b"\n")
    assert told["eventgate_sidecar"] == {"count": 2000 - printed, "printed": printed}
    assert printed == 800  # a page of 200 events every other second, the last one begun in time


@pytest.mark.looptime
async def test_large_events_are_written_out_a_mebibyte_at_a_time(tmp_path: Path) -> None:
    """So that the disk's thread is free again soon."""
    async with open_spool(tmp_path / "spool", hand=AtOnce()) as opened:
        await opened.put([spooled(number, body=b"1" * 300_000) for number in range(1, 11)])
        assert [count async for count in written(opened.spool, len)] == [4, 8, 10]


@pytest.mark.looptime
async def test_a_start_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    """Live delivery needs no spool; and the state names the gateway from the start."""
    spooling = Spooling(tmp_path, Telemetry([], make_log(io.StringIO())), hand=Slow(1000.0))
    spooling._handing = handing = Handing()  # type: ignore[assignment]
    clock = asyncio.get_running_loop().time
    async with asyncio.TaskGroup() as tasks:
        await spooling.start(tasks)
        assert clock() == pytest.approx(OPEN_SECONDS, abs=0.01)
        assert (spooling.state.gateway, spooling.state.gateway_trouble) == (handing.host, "")
        await spooling.end(prints=False, until=0.0)
