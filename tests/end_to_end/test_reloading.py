"""Edits of `routes.yaml` of a running process: under load, with mistakes, and across a restart."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.end_to_end.conftest import written
from tests.end_to_end.processes import ROOT, Process, Sidecar, ask, sidecar
from tests.fakes import PATIENCE, Client, FakeEventGate, Received, after, connected, eventually, post, refusing
from tests.running import to_one

JSON = {"content-type": "application/json"}
POSTERS, EVENTS_PER_SECOND, SECONDS = 16, 1000, 4.0


def both(old: FakeEventGate, new: FakeEventGate, to: str, **settings: object) -> dict[str, Any]:
    """Return a configuration that sends everything to one of the two, and says so in the stream's name."""
    upstreams = {"old": to_one(old.address)["upstreams"]["main"], "new": to_one(new.address)["upstreams"]["main"]}  # type: ignore[index]
    upstreams[to] |= settings
    route = {"name": f"to-{to}", "match": {"stream": "s"}, "to": to, "stream": f"{to}.s"}
    other = {"name": "other", "to": "old" if to == "new" else "new"}
    return {"version": 1, "upstreams": upstreams, "routes": [route, other]}


def rewrite(path: Path, text: str) -> None:
    """Put another text in place of a file, as an editor or Kubernetes does: at once."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


async def told(running: Sidecar, action: str, count: int = 1) -> Any:
    """Return the fields of the `count`th line of the log about this."""

    def lines() -> list[Any]:
        return [line for line in running.process.lines if line["event"]["action"] == action]

    await asyncio.to_thread(running.process.line, lambda _: len(lines()) >= count)
    return lines()[count - 1]["eventgate_sidecar"]


async def asked(address: str, method: str, target: str, body: bytes = b"") -> Any:
    """Return the JSON that is answered."""
    return json.loads((await asyncio.to_thread(ask, address, method, target, body, JSON)).body)


# --- under load ---


async def keep_posting(client: Client, numbers: Iterator[int], statuses: Counter[int], until: float) -> None:
    """Post two events at a time, evenly, at this poster's share of the whole."""
    clock, pause = asyncio.get_running_loop().time, 2 * POSTERS / EVENTS_PER_SECOND
    due = clock()
    while clock() < until:
        pair = [{"meta": {"stream": "s", "id": f"{next(numbers)}"}} for _ in range(2)]
        statuses[(await client.post(json.dumps(pair).encode())).status] += 1
        due += pause
        await asyncio.sleep(max(0.0, due - clock()))


def arrived(gate: FakeEventGate) -> list[tuple[str, str]]:
    """Return stream and id of every event that came."""
    return [(event["meta"]["stream"], event["meta"]["id"]) for request in gate.requests for event in request.events]


def mixed(gates: tuple[FakeEventGate, ...]) -> list[int]:
    """Return the pairs that were parted: each was posted in one request, so both went one way."""
    gate_of = {identity: number for number, gate in enumerate(gates) for _, identity in arrived(gate)}
    return [
        int(first) for first in gate_of if int(first) % 2 == 0 and gate_of[first] != gate_of.get(f"{int(first) + 1}")
    ]


async def test_reloading_under_load_loses_nothing_and_mixes_nothing(tmp_path: Path) -> None:
    """At 1,000 events a second every event arrives once, under one configuration, whatever is edited."""
    async with FakeEventGate() as old, FakeEventGate() as new:
        path = written(both(old, new, "old"), tmp_path)
        with sidecar(path) as running:
            statuses: Counter[int] = Counter()
            numbers = itertools.count()
            until = asyncio.get_running_loop().time() + SECONDS
            clients = [connected(running.address) for _ in range(POSTERS)]
            async with asyncio.TaskGroup() as tasks:
                for client in clients:
                    tasks.create_task(keep_posting(await client.__aenter__(), numbers, statuses, until))
                applied = 1
                for turn in itertools.count():
                    # Every other time the upstream changes, too, so that it gets a new pool.
                    config = both(old, new, "new" if turn % 2 == 0 else "old", failback=f"{turn + 1}s")
                    rewrite(path, json.dumps(config) if turn % 5 != 4 else "version: 1\nroutes: []\n")
                    running.process.tell(signal.SIGHUP)
                    if turn % 5 != 4:
                        applied += 1
                        await told(running, "ConfigLoaded", applied)
                    if asyncio.get_running_loop().time() > until - 0.3:
                        break
            for client in clients:
                await client.__aexit__(None, None, None)
            posted = next(numbers)
            assert dict(statuses) == {201: posted // 2}
            assert posted > 0.8 * EVENTS_PER_SECOND * SECONDS
            assert sorted(int(identity) for gate in (old, new) for _, identity in arrived(gate)) == [*range(posted)]
            assert {stream for stream, _ in arrived(old)} == {"old.s"}
            assert {stream for stream, _ in arrived(new)} == {"new.s"}
            assert mixed((old, new)) == []
            assert applied >= 8
            assert running.metrics("eventgate_sidecar_config_loads_total")["applied",] >= applied


async def test_a_request_in_flight_ends_under_its_own_configuration(tmp_path: Path) -> None:
    """It is answered by its upstream, even if that was removed."""
    release = asyncio.Event()
    async with FakeEventGate(after(release)) as old, FakeEventGate() as new:
        path = written(to_one(old.address), tmp_path)
        with sidecar(path) as running:
            async with connected(running.address) as first, connected(running.address) as second:
                await first.send(post(b'{"meta":{"stream":"s","id":"a"}}'))
                await old.received(1)
                rewrite(path, json.dumps(to_one(new.address)))
                running.process.tell(signal.SIGHUP)
                await told(running, "ConfigLoaded", 2)
                assert (await second.post(b'{"meta":{"stream":"s","id":"b"}}')).status == 201
                release.set()
                assert (await first.answer()).status == 201
        assert [[event["meta"]["id"] for event in gate.requests[0].events] for gate in (old, new)] == [["a"], ["b"]]


async def test_an_upstream_that_stays_keeps_its_connections(tmp_path: Path) -> None:
    """An edit of the routes opens no connection, and changes no address's health."""
    async with FakeEventGate() as gate:
        path = written(to_one(gate.address), tmp_path)
        with sidecar(path) as running:
            async with connected(running.address) as client:
                assert (await client.post(b'{"meta":{"stream":"s"}}')).status == 201
                connections, posts = gate.connections, len(gate.requests)
                config = to_one(gate.address)
                config["routes"] = [{"name": "renamed", "to": "main", "stream": "t"}]
                rewrite(path, json.dumps(config))
                running.process.tell(signal.SIGHUP)
                await told(running, "ConfigLoaded", 2)
                found = await asked(running.address, "POST", "/_sidecar/explain", b'{"meta":{"stream":"s"}}')
                assert (found["sent_as"], found["tried"][0]["state"]) == ("t", "healthy (its health check passed)")
                assert (await client.post(b'{"meta":{"stream":"s"}}')).status == 201
        assert (gate.connections, streams(gate.requests[posts:])) == (connections, ["t"])


def streams(requests: list[Received]) -> list[str]:
    """Return the streams of what came."""
    return [event["meta"]["stream"] for request in requests for event in request.events]


async def test_spooled_events_follow_the_new_configuration(tmp_path: Path) -> None:
    """They are sent as soon as their new upstream takes them."""
    with refusing() as nobody:
        async with FakeEventGate() as gate:
            path = written(to_one(nobody), tmp_path)
            with sidecar(path, "--spool", str(tmp_path / "spool")) as running:
                seen = await asyncio.to_thread(
                    ask, running.address, "POST", "/v1/events", b'{"meta":{"stream":"s","id":"a"}}', JSON
                )
                assert (seen.status, gate.requests) == (202, [])
                rewrite(path, json.dumps(to_one(gate.address)))
                running.process.tell(signal.SIGHUP)
                (request,) = await gate.received(1)
                assert [event["meta"]["id"] for event in request.events] == ["a"]


async def test_a_file_that_needs_a_spool_is_refused_without_one(tmp_path: Path) -> None:
    """The sidecar could not keep its promises."""
    async with FakeEventGate() as gate:
        path = written(to_one(gate.address), tmp_path)
        with sidecar(path) as running:
            rewrite(path, json.dumps(to_one(gate.address, on_ambiguous="spool")))
            running.process.tell(signal.SIGHUP)
            await told(running, "ConfigRefused")
            assert "--spool DIR" in (await asked(running.address, "GET", "/_sidecar/config"))["refused"]


# --- mistakes ---


async def test_a_broken_file_is_shown_and_events_go_on(tmp_path: Path) -> None:
    """It is found without a signal; log, metric and status show it as `check` does."""
    async with FakeEventGate() as gate:
        path = written(to_one(gate.address), tmp_path)
        with sidecar(path) as running:
            rewrite(path, json.dumps({**to_one(gate.address), "routes": [{"name": "r", "to": "mian"}]}))
            assert (await told(running, "ConfigRefused"))["problems"] == 1
            (line,) = (each for each in running.process.lines if each["event"]["action"] == "ConfigRefused")
            assert "(did you mean 'main'?)" in line["message"]
            assert line["message"].endswith("^")
            state = await asked(running.address, "GET", "/_sidecar/config")
            assert state["refused"] in line["message"]
            assert [each["path"] for each in state["problems"]] == ["routes[0].to"]
            seen = await asyncio.to_thread(ask, running.address, "POST", "/v1/events", b'{"meta":{"stream":"s"}}', JSON)
            assert seen.status == 201


async def test_a_restart_beside_a_broken_file_starts_with_the_last_good_one(tmp_path: Path) -> None:
    """The file is used once it is fixed."""
    async with FakeEventGate() as gate:
        path, kept = written(to_one(gate.address), tmp_path), tmp_path / "state" / "last-good.yaml"
        words = ("--last-good", str(kept))
        with sidecar(path, *words) as running:
            await eventually(kept.exists)
        rewrite(path, "version: 1\n")
        with sidecar(path, *words) as running:
            assert (await told(running, "ConfigLoaded"))["file"] == str(kept)
            assert (await told(running, "ConfigRefused"))["file"] == str(path)
            seen = await asyncio.to_thread(ask, running.address, "POST", "/v1/events", b'{"meta":{"stream":"s"}}', JSON)
            assert seen.status == 201
            rewrite(path, json.dumps(to_one(gate.address)))
            assert (await told(running, "ConfigLoaded", 2))["file"] == str(path)
            assert (await asked(running.address, "GET", "/_sidecar/config"))["refused"] is None


# --- seen from the command line ---


async def test_explain_queries_the_running_sidecar(tmp_path: Path) -> None:
    """Its labels decide, and the address that would get the event now is shown."""
    async with FakeEventGate() as gate:
        config = to_one(gate.address)
        config["routes"] = [{"name": "r", "match": {"labels": {"env": "staging"}}, "to": "main"}]
        with sidecar(written(config, tmp_path), "--label", "env=staging") as running:
            command = [sys.executable, "-m", "sidecar", "explain", "--running", "--stream", "s"]
            command += ["--listen", running.address]
            seen = await asyncio.to_thread(
                subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        assert (seen.returncode, seen.stdout) == (
            0,
            "event of stream s, labels env=staging\n"
            "  ✓ r: labels.env is staging\n"
            "sent to main as s\n"
            f"  http://{gate.address}/v1/events\n"
            "tried now:\n"
            f"  1 {gate.address} 127.0.0.1: healthy (its health check passed)\n",
        )


def test_it_does_not_start_if_a_test_fails(tmp_path: Path) -> None:
    """What `check` refuses does not start."""
    config = to_one("127.0.0.1:1")
    config["tests"] = [{"name": "t", "event": {"meta": {"stream": "s"}}, "expect": {"refused": True}}]
    process = Process("sidecar", "serve", "--routes", str(written(config, tmp_path)), "--listen", "127.0.0.1:0")
    assert process.end() == 2
    assert "tests[0].expect.refused fails: expected true, got false" in str(process.lines)
