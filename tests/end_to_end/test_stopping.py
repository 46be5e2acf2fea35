"""Start and stop of the process: its output and its exit status."""

from __future__ import annotations

import asyncio
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
async def test_requests_in_flight_are_finished(tmp_path: Path, number: signal.Signals) -> None:
    """After a signal they are answered, and the process ends with status 0."""
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


def starting(routes: Path, mask: str, number: signal.Signals) -> Process:
    """Start a sidecar; return once it catches (`SigCgt`) or ignores (`SigIgn`) this signal: long before it listens."""
    process = Process("sidecar", "serve", "--routes", str(routes), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    status = Path(f"/proc/{process.pid}/status")
    while process.is_running:
        masks = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if line.startswith("Sig"))
        if int(masks[mask], 16) >> (number - 1) & 1:
            return process
    process.kill()
    raise AssertionError(f"{number.name} is not in {mask}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_early_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    """With status 0, before it listens: as PID 1 it would otherwise run until it is killed."""
    process = starting(written(to_one("127.0.0.1:1"), tmp_path), "SigCgt", signal.SIGTERM)
    try:
        process.tell(number)
        assert process.end() == 0
        assert process.lines == []
    finally:
        process.kill()


def test_an_early_sighup_does_not_end_it(tmp_path: Path) -> None:
    """SIGHUP is harmless from the start: the file is being loaded anyway."""
    routes = tmp_path / "routes.yaml"
    routes.write_text("version: 2")
    process = starting(routes, "SigIgn", signal.SIGHUP)
    try:
        process.tell(signal.SIGHUP)
        assert process.end() == 2
    finally:
        process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 7), (signal.SIGINT, 8), (signal.SIGHUP, 9)])
def test_the_image_s_first_process_passes_signals_on(number: signal.Signals, status: int) -> None:
    """To its child, whose exit status it returns."""
    handlers = "[signal.signal(n, lambda n, _: sys.exit({15: 7, 2: 8, 1: 9}[n])) for n in (15, 2, 1)]"
    script = f"import signal, sys, time; {handlers}"
    command = [
        str(ROOT / "scripts" / "init"),
        sys.executable,
        "-c",
        f"{script}; print('ready', flush=True); time.sleep(60)",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == status


def test_the_image_s_first_process_knows_how_its_child_ended() -> None:
    """A signal at the very moment the child ends does not hide its exit status, and leaves no line in the log."""
    init, script = str(ROOT / "scripts" / "init"), "trap '' TERM; kill -TERM $PPID; exit 7"
    command = [init, "sh", "-c", script]
    ended = [subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False) for _ in range(100)]
    assert {(one.returncode, one.stderr) for one in ended} == {(7, "")}


def test_the_image_s_first_process_loses_no_early_signal() -> None:
    """Even a SIGTERM before it has a handler ends the child."""
    with subprocess.Popen([str(ROOT / "scripts" / "init"), "sleep", "60"]) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in {128 + signal.SIGTERM, -signal.SIGTERM}


def test_a_bad_configuration_does_not_start(tmp_path: Path) -> None:
    """Every problem is on standard error, with its place and the fix, and the status is 2."""
    config = to_one("127.0.0.1:1")
    config["routes"] = [{"name": "r", "to": "mian"}]
    ended = serve("--routes", str(written({**config, "version": 2}, tmp_path)))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "routes.yaml:1:2: version is 2; allowed: 1" in ended.stderr
    assert "(did you mean 'main'?)" in ended.stderr
    assert ended.stderr.endswith("\n2 problems\n")


def test_an_address_in_use_is_one_line(tmp_path: Path) -> None:
    """A second process on the same port ends with status 2, without a traceback."""
    routes = written(to_one("127.0.0.1:1"), tmp_path)
    with sidecar(routes) as first:
        ended = serve("--routes", str(routes), "--listen", first.address)
        assert (ended.returncode, ended.stdout) == (2, "")
        in_use = "Address already in use; stop what listens there, or use another port"
        assert ended.stderr == f"eventgate-sidecar: cannot listen on {first.address}: {in_use}\n"
        assert ask(first.admin, "GET", "/livez").status == 200


def test_a_flag_wins_over_the_environment(tmp_path: Path) -> None:
    """--label overrides SIDECAR_LABELS."""
    env = {"SIDECAR_LABELS": "env=staging,isvc=a"}
    with sidecar(written(to_one("127.0.0.1:1"), tmp_path), "--label", "env=production", env=env) as running:
        loaded = running.process.line(lambda line: line["event"]["action"] == "ConfigLoaded")
    assert loaded["eventgate_sidecar"]["labels"] == "env=production,isvc=a"
