"""The spool of a sidecar process: answers to producers, events that arrive, and reports to operators."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.status.ask import status_of
from tests.end_to_end.conftest import QUICK_CHECKS, written
from tests.end_to_end.load import an_event
from tests.end_to_end.processes import Emulator, Json, Sidecar, sidecar
from tests.end_to_end.test_stopping import serve, status
from tests.fakes import PATIENCE, FakeEventGate, connected, eventually, refusing, reset
from tests.running import to_one, upstream
from tests.spool.spools import needs_root, small_disk, spool_file, spooled, waiting

MEBIBYTE = 1024 * 1024


@pytest.fixture
def gate(eventgate: Emulator) -> Emulator:
    """Return an EventGate with nothing kept."""
    eventgate.forget()
    return eventgate


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return the directory of the test's spool."""
    return tmp_path / "spool"


async def told(running: Sidecar, id_: str, stream: str = "score", **more: object) -> int:
    """Post an event; return the status of the answer."""
    async with connected(running.address) as client:
        return (await client.post(an_event(id_, stream, **more))).status


async def told_it_stops(running: Sidecar) -> None:
    """Send SIGTERM, and wait until it takes effect."""
    running.process.tell(signal.SIGTERM)
    await asyncio.to_thread(running.process.line, lambda line: "Stopping" in json.dumps(line))


def ids(gate: Emulator) -> list[str]:
    """Return the id of each event that was taken, in the order of that."""
    return [kept["event"]["meta"]["id"] for kept in gate.kept]


def logged(running: Sidecar, action: str) -> list[Json]:
    """Return what the log has of one kind."""
    lines = [line for line in running.process.lines if isinstance(line, dict) and "eventgate_sidecar" in line]
    return [line["eventgate_sidecar"] for line in lines if line["event"]["action"] == action]


# --- how it ends ---


async def test_what_waits_is_sent_before_the_end(tmp_path: Path, gate: Emulator, spool: Path) -> None:
    """After SIGTERM events are still taken; an endpoint that recovers within the drain time gets them all."""
    gate.fault("refuse")
    routes = written(to_one(gate.address, **QUICK_CHECKS), tmp_path)
    with sidecar(routes, "--spool", str(spool), "--drain", "3s") as running:
        before = await told(running, "a")
        await told_it_stops(running)
        assert (before, await told(running, "b")) == (202, 202)
        gate.fault("none")
        assert (await status(running), logged(running, "SpoolLeft")) == (0, [])
    assert (sorted(ids(gate)), waiting(spool)) == (["a", "b"], [])


async def test_what_is_left_is_told_and_printed_and_sent_by_the_next(
    tmp_path: Path, gate: Emulator, spool: Path
) -> None:
    """Without an endpoint, the log has the numbers by stream, and standard output the events."""
    gate.fault("refuse")
    routes = written(to_one(gate.address, **QUICK_CHECKS), tmp_path)
    with sidecar(routes, "--spool", str(spool), "--drain", "500ms", "--on-exit", "print") as running:
        await told_it_stops(running)
        assert [await told(running, id_, stream) for id_, stream in ("ax", "bx", "cy")] == [202] * 3
        assert await status(running) == 0
        assert logged(running, "SpoolLeft") == [{"stream": "x", "count": 2}, {"stream": "y", "count": 1}]
        printed = [line for line in running.process.lines if "arrival" in line]
    assert [line["event"] for line in printed] == [json.loads(an_event(*each)) for each in ("ax", "bx", "cy")]
    gate.fault("none")
    with sidecar(routes, "--spool", str(spool)):
        await eventually(lambda: ids(gate) == ["a", "b", "c"])


async def test_what_is_left_is_not_printed_unasked(tmp_path: Path, spool: Path) -> None:
    """Events may be confidential, and logs are copied."""
    with refusing() as nobody:
        routes = written(to_one(nobody), tmp_path)
        with sidecar(routes, "--spool", str(spool), "--drain", "0s") as running:
            assert await told(running, "Zq7MARKERq7Z") == 202
            await told_it_stops(running)
            assert await status(running) == 0
            assert logged(running, "SpoolLeft") == [{"stream": "score", "count": 1}]
            assert "Zq7MARKERq7Z" not in json.dumps(running.process.lines)


async def test_a_second_signal_does_not_wait_for_the_spool(tmp_path: Path, spool: Path) -> None:
    """It ends at once; waiting events are reported and left for the next sidecar."""
    with refusing() as nobody, sidecar(written(to_one(nobody), tmp_path), "--spool", str(spool)) as running:
        assert await told(running, "a") == 202
        await told_it_stops(running)
        running.process.tell(signal.SIGTERM)
        assert await status(running) == 0
        assert logged(running, "SpoolLeft") == [{"stream": "score", "count": 1}]


# --- what an edit of routes.yaml leaves behind ---


async def test_todays_rules_decide_where_the_spool_goes(tmp_path: Path, gate: Emulator, spool: Path) -> None:
    """A changed URL is reported; an event that is no longer accepted becomes a dead letter."""
    with refusing() as nobody:
        routes: Json = to_one(nobody, **QUICK_CHECKS)
        file = written(routes, tmp_path)
        with sidecar(file, "--spool", str(spool)) as running:
            assert [await told(running, "a"), await told(running, "b", "links")] == [202, 202]
            routes = to_one(gate.address, accepts=[{"stream": "links"}], **QUICK_CHECKS)
            written(routes, tmp_path)
            await eventually(lambda: ids(gate) == ["b"])
            (line,) = logged(running, "SpoolRerouted")
            assert (line["upstream"], line["count"], line["before"]) == ("main", 2, f"http://{nobody}/v1/events")
            await eventually(lambda: logged(running, "DeadLettered") != [])
    with spool_file(spool) as kept:
        ((letter, _),) = kept.dead_letters()
        assert (letter.event.id, "does not accept stream score" in letter.reason) == ("a", True)


# --- what routes.yaml can ask for ---


async def test_acknowledge_spooled_does_not_wait_for_eventgate(tmp_path: Path, gate: Emulator, spool: Path) -> None:
    """While EventGate hangs, the answer is 202 in less than a second; the event arrives later."""
    gate.fault("freeze")
    config = to_one(gate.address, **QUICK_CHECKS)
    config["routes"] = [{"name": "all", "to": "main", "acknowledge": "spooled"}]
    with sidecar(written(config, tmp_path), "--spool", str(spool)) as running:
        async with asyncio.timeout(1.0):
            assert await told(running, "a") == 202
        assert ids(gate) == []
        gate.fault("none")
        await eventually(lambda: ids(gate) == ["a"])


async def test_events_of_a_key_arrive_in_order(tmp_path: Path, gate: Emulator, spool: Path) -> None:
    """While EventGate goes down and comes back, no event overtakes an older one with the same key."""
    config = to_one(gate.address, **QUICK_CHECKS)
    config["routes"] = [{"name": "all", "to": "main", "order_by": ["test"]}]
    posted = [(f"{number:02}", f"page {number % 3}") for number in range(30)]
    with sidecar(written(config, tmp_path), "--spool", str(spool)) as running:
        statuses = Counter[int]()
        for number, (id_, page) in enumerate(posted):
            if number % 5 == 0:
                gate.fault("none" if number % 10 else "unavailable")
            statuses[await told(running, id_, test=page)] += 1
        await eventually(lambda: len(ids(gate)) == len(posted))
    assert statuses.keys() <= {201, 202}
    assert statuses[202] >= 15
    for page in ("page 0", "page 1", "page 2"):
        arrived = [kept["event"]["meta"]["id"] for kept in gate.kept if kept["event"]["test"] == page]
        assert arrived == [id_ for id_, its in posted if its == page]


async def test_what_may_have_been_taken_is_sent_later(tmp_path: Path, spool: Path) -> None:
    """With `on_ambiguous: spool`, a broken-off attempt is answered 202, and the same bytes are sent later."""
    async with FakeEventGate(reset) as broken:
        routes = written(to_one(broken.address, on_ambiguous="spool", **QUICK_CHECKS), tmp_path)
        with sidecar(routes, "--spool", str(spool)) as running:
            assert await told(running, "a") == 202
            first, second = await broken.received(2)
            assert first.body == second.body == an_event("a")


async def test_an_upstream_may_do_without_the_spool(tmp_path: Path, spool: Path) -> None:
    """With `spool: false`, only its events are answered 503 as before."""
    with refusing() as nobody:
        config = to_one(nobody) | {
            "upstreams": {"main": upstream(nobody), "proud": upstream(nobody, spool=False)},
            "routes": [{"name": "live", "match": {"stream": "live"}, "to": "proud"}, {"name": "all", "to": "main"}],
        }
        with sidecar(written(config, tmp_path), "--spool", str(spool)) as running:
            assert (await told(running, "a", "live"), await told(running, "b")) == (503, 202)
            assert logged(running, "SpoolRefused") == []


@pytest.mark.parametrize(
    ("upstreams", "routes", "words"),
    [
        ({}, {"acknowledge": "spooled"}, "route all has acknowledge: spooled"),
        ({}, {"order_by": ["test"]}, "route all has order_by"),
        ({"on_ambiguous": "spool"}, {}, "upstream main has on_ambiguous: spool"),
    ],
)
def test_what_needs_a_spool_is_not_started_without(tmp_path: Path, upstreams: Json, routes: Json, words: str) -> None:
    """One line names the key and the fix, with status 2."""
    config = {**to_one("127.0.0.1:1", **upstreams), "routes": [{"name": "all", "to": "main", **routes}]}
    ended = serve("--routes", str(written(config, tmp_path)))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"eventgate-sidecar: {words}, and there is no spool; give it a directory with --spool DIR\n"


# --- nothing is forgotten ---


async def test_for_each_stream_received_is_where_it_ended(tmp_path: Path, gate: Emulator, spool: Path) -> None:
    """Received = delivered + invalid + refused + spooled + failed; a spooled event arrives or is a dead letter."""
    with refusing() as nobody:
        config = {
            "version": 1,
            "upstreams": {
                "main": upstream(gate.address, **QUICK_CHECKS),
                "proud": upstream(nobody, spool=False),
            },
            "routes": [
                {"name": "live", "match": {"stream": "live"}, "to": "main"},
                {"name": "later", "match": {"stream": "later"}, "to": "main", "acknowledge": "spooled"},
                {"name": "proud", "match": {"stream": "proud"}, "to": "proud"},
                {"name": "no", "match": {"stream": "no"}, "reject": "not here"},
            ],
        }
        with sidecar(written(config, tmp_path), "--spool", str(spool)) as running:
            received = await _post_a_mix(running, gate)
            delivered = {("live", "live-0"), ("live", "live-1"), ("later", "later-0"), ("later", "later-1")}
            await eventually(lambda: set(_kept(gate)) == delivered)
            await eventually(lambda: running.metrics("eventgate_sidecar_spool_buried_events_total") != {})
            ended = running.metrics("eventgate_sidecar_events_total")
            buried = running.metrics("eventgate_sidecar_spool_buried_events_total")
    assert {labels: count for labels, count in ended.items() if count} == {
        ("delivered", "live"): 1.0,
        ("invalid", "live"): 1.0,
        ("spooled", "live"): 1.0,
        ("failed", "live"): 1.0,
        ("spooled", "later"): 3.0,
        ("failed", "proud"): 2.0,
        ("refused", "no"): 2.0,
    }
    sums = Counter[str]()
    for (_, stream), count in ended.items():
        sums[stream] += int(count)
    assert (+sums, buried) == (received, {("invalid", "later"): 1.0})


async def _post_a_mix(running: Sidecar, gate: Emulator) -> Counter[str]:
    """Let events end in every way there is; return how many there were of each stream."""
    assert await told(running, "live-0", "live") == 201
    assert await told(running, "live-invalid", "live", test=17) == 400
    gate.fault("kafka")
    assert await told(running, "live-error", "live") == 500
    gate.fault("none")
    assert await told(running, "later-invalid", "later", test=17) == 202
    assert await told(running, "later-0", "later") == 202
    gate.fault("refuse")
    assert await told(running, "live-1", "live") == 202
    assert await told(running, "later-1", "later") == 202
    array = b"[%b,%b,%b]" % (an_event("no-0", "no"), an_event("proud-0", "proud"), an_event("no-1", "no"))
    async with connected(running.address) as client:
        assert (await client.post(array)).status == 503
    assert await told(running, "proud-1", "proud") == 503
    gate.fault("none")
    return Counter({"live": 4, "later": 3, "proud": 2, "no": 2})


def _kept(gate: Emulator) -> list[tuple[str, str]]:
    return [(kept["stream"], kept["event"]["meta"]["id"]) for kept in gate.kept]


# --- no room ---


@pytest.fixture
def full() -> Iterator[Path]:
    """Return a spool without room."""
    with tempfile.TemporaryDirectory() as folder:  # pytest would keep the last three, and each is large
        with spool_file(Path(folder)) as file:
            for size in (MEBIBYTE, 100_000, 1000, 1):
                room = True
                while room:
                    with file.transaction():
                        room = file.put([spooled(0, body=b" " * size)])
        yield Path(folder)


async def test_a_full_spool_is_told_loudly(tmp_path: Path, full: Path) -> None:
    """The producer gets 503 and the header, the operator log, metric and page; nothing is dropped."""
    before = waiting(full)
    with refusing() as nobody, sidecar(written(to_one(nobody), tmp_path), "--spool", str(full)) as running:
        assert await told(running, "a") == 503
        async with connected(running.address) as client:
            answer = await client.post(an_event("b", "score"))
        assert (answer.status, answer.headers["x-eventgate-sidecar"].split("; ")[-1]) == (503, "spool=full")
        shown = await asyncio.to_thread(status_of, running.address)
        refused = running.metrics("eventgate_sidecar_spool_refused_events_total")
        (line,) = logged(running, "SpoolRefused")
    assert refused == {("full",): 2.0, ("broken",): 0.0}
    assert line["why"] == "full"
    assert (shown["spool"]["percent"], shown["level"]) == (100, "bad")
    assert "The spool is full" in shown["sentence"]
    assert line["reason"].endswith(": the spool is full; it may take 262144 KiB of the disk")
    assert waiting(full) == before


@needs_root
async def test_a_full_disk_costs_only_the_spool(tmp_path: Path, gate: Emulator) -> None:
    """Live delivery goes on, all answered 202 arrive, and events are spooled again once there is room."""
    routes = written(to_one(gate.address, **QUICK_CHECKS), tmp_path)
    with small_disk(tmp_path / "disk", "24m") as disk, sidecar(routes, "--spool", str(disk / "spool")) as running:
        (disk / "ballast").write_bytes(bytes(3 * MEBIBYTE))
        gate.fault("refuse")
        kept = await _fill_the_disk(running)
        await eventually(lambda: any("spool is full; " in line["reason"] for line in logged(running, "SpoolRefused")))
        (disk / "more").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        gate.fault("none")
        async with asyncio.timeout(PATIENCE):
            while await told(running, "live") != 201:
                pass
        await eventually(lambda: {*kept, "live"} <= set(ids(gate)))
        (disk / "ballast").unlink()
        (disk / "more").unlink()
        gate.fault("refuse")
        assert await told(running, "again") == 202
        gate.fault("none")
        await eventually(lambda: "again" in ids(gate))


async def _fill_the_disk(running: Sidecar) -> list[str]:
    """Post until the spool takes no more; return the ids of what it took."""
    kept: list[str] = []
    while (answer := await told(running, f"{len(kept)}", test="x" * 50_000)) == 202:
        kept.append(f"{len(kept)}")
    assert (answer, kept != []) == (503, True)
    return kept
