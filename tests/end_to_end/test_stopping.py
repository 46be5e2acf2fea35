"""Starting and stopping the process: what it says, and its exit status."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import written
from tests.end_to_end.processes import ROOT, Process, Sidecar, ask, sidecar
from tests.fakes import PATIENCE, FakeEventGate, after, connected, post
from tests.running import to_one

EVENT = b'{"meta":{"stream":"s","id":"a"}}'
JSON = {"content-type": "application/json"}


async def status(running: Sidecar) -> int:
    """Wait for its end; return its exit status."""
    return await asyncio.to_thread(running.process.end)


def serve(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `serve` where it should end by itself."""
    command = [sys.executable, "-m", "sidecar", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_what_is_under_way_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    """A signal costs no event that was on its way, and the process ends with status 0."""
    release = asyncio.Event()
    async with FakeEventGate(after(release)) as gate:
        with sidecar(written(to_one(gate.address), tmp_path), "--drain", "0") as running:
            async with connected(running.address) as client:
                await client.send(post(EVENT))
                await gate.received(1)
                running.process.tell(number)
                await asyncio.to_thread(running.process.line, lambda line: line["event"]["action"] == "Stopping")
                release.set()
                assert (await client.answer()).status == 201
            assert (await status(running), running.in_flight()) == (0, 0)


async def test_while_it_drains_events_are_taken(tmp_path: Path) -> None:
    """After SIGTERM the model server's last scores are still delivered; then it ends with status 0."""
    async with FakeEventGate() as gate:
        with sidecar(written(to_one(gate.address), tmp_path), "--drain", "500ms") as running:
            running.process.tell(signal.SIGTERM)
            await asyncio.to_thread(running.process.line, lambda line: line["event"]["action"] == "Stopping")
            seen = await asyncio.to_thread(ask, running.address, "POST", "/v1/events", EVENT, JSON)
            assert (seen.status, await status(running)) == (201, 0)
        assert len(gate.requests) == 1


def test_a_signal_to_load_the_configuration_does_not_end_what_is_starting(tmp_path: Path) -> None:
    """SIGHUP is harmless from the start: what it asks for is under way then, and ends as it would have."""
    routes = tmp_path / "routes.yaml"
    os.mkfifo(routes)  # so that the sidecar is known to be reading it
    process = Process("sidecar", "serve", "--routes", str(routes), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    try:
        with routes.open("w") as written_to:  # waits for it
            process.tell(signal.SIGHUP)
            routes.unlink()
            routes.write_text("version: 2")
            written_to.write("version: 2")
        assert process.end() == 2
    finally:
        process.kill()


def test_a_bad_configuration_does_not_start(tmp_path: Path) -> None:
    """Every problem is on standard error, with its place and the mend, and the status is 2."""
    config = to_one("127.0.0.1:1")
    config["routes"] = [{"name": "r", "to": "mian"}]
    ended = serve("--routes", str(written({**config, "version": 2}, tmp_path)))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "routes.yaml:1:2: version is 2; allowed: 1" in ended.stderr
    assert "(did you mean 'main'?)" in ended.stderr
    assert ended.stderr.endswith("\n2 problems\n")


def test_an_address_in_use_is_said_in_words(tmp_path: Path) -> None:
    """A second process on the same port ends with status 2 and one line, without a traceback."""
    routes = written(to_one("127.0.0.1:1"), tmp_path)
    with sidecar(routes) as first:
        ended = serve("--routes", str(routes), "--listen", first.address)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == f"eventgate-sidecar: cannot listen on {first.address}: Address already in use\n"
        assert ask(first.admin, "GET", "/livez").status == 200


def test_a_flag_wins_over_the_environment(tmp_path: Path) -> None:
    """SIDECAR_LABELS says what the pod is, unless --label says otherwise."""
    env = {"SIDECAR_LABELS": "env=staging,isvc=a"}
    with sidecar(written(to_one("127.0.0.1:1"), tmp_path), "--label", "env=production", env=env) as running:
        loaded = running.process.line(lambda line: line["event"]["action"] == "ConfigLoaded")
    assert loaded["eventgate_sidecar"]["labels"] == "env=production,isvc=a"
