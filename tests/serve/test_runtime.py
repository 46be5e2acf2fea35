"""Promises of `runtime`: starting and stopping a sidecar."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.errors import ConfigError, SettingError
from sidecar.serve.runtime import Runtime, Settings
from tests.fakes import PATIENCE, FakeEventGate, after, connected, eventually, post, refusing
from tests.running import Running, sidecar, to_one

EVENT = b'{"meta":{"stream":"s","id":"a"}}'


def written(folder: Path, config: object) -> Path:
    """Write a configuration."""
    path = folder / "routes.yaml"
    path.write_text(json.dumps(config))
    return path


async def stopped(running: Running) -> None:
    """Wait until it has stopped without an error."""
    async with asyncio.timeout(PATIENCE):
        await running.task


def actions(running: Running) -> list[str]:
    """Return its log actions about start and stop."""
    names = [line["event"]["action"] for line in running.log]
    return [name for name in names if name in {"ConfigLoaded", "Listening", "Stopping", "Stopped"}]


# --- what it starts with ---


@pytest.mark.parametrize("wants", ["ca_file", "order_by"])
async def test_a_file_that_a_reload_refuses_does_not_prevent_a_start(tmp_path: Path, wants: str) -> None:
    """The last good one is used, and that is reported."""
    last_good = tmp_path / "last-good.yaml"
    async with FakeEventGate() as gate, contextlib.AsyncExitStack() as stack:
        last_good.write_text(json.dumps(to_one(gate.address)))
        config = to_one(gate.address)
        if wants == "ca_file":
            config = to_one(gate.address, scheme="https", tls={"ca_file": str(tmp_path / "nowhere.crt")})
        else:
            config["routes"][0]["order_by"] = ["page.page_id"]  # type: ignore[index]
        running = await stack.enter_async_context(sidecar(config, tmp_path, last_good=last_good))
        async with connected(running.address) as client:
            await client.send(post(EVENT))
            assert (await client.answer()).status == 201
        await eventually(lambda: "ConfigRefused" in [line["event"]["action"] for line in running.log])
        assert last_good.read_text() == json.dumps(to_one(gate.address))


# --- what it is made of ---


async def test_without_traces_there_is_no_observer(tmp_path: Path) -> None:
    """Neither for requests nor for loads."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:
        runtime = running.runtime
        assert (runtime._events._follow, runtime._generation._sender._observer) == (None, None)


def test_without_traces_opentelemetry_is_not_imported() -> None:
    """Nor packages that only its exporter needs."""
    ours = "import sidecar.commands.cli, sidecar.serve.otelsettings, sidecar.serve.runtime, sys"
    shown = "print(*{name.partition('.')[0] for name in sys.modules} & {'opentelemetry', 'requests', 'google'})"
    run = subprocess.run([sys.executable, "-c", f"{ours}\n{shown}"], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


async def test_requests_leave_no_garbage(tmp_path: Path) -> None:
    """Their objects have no cycles, so the collector, which stops everything else, finds nothing."""
    async with (
        FakeEventGate() as gate,
        sidecar(to_one(gate.address), tmp_path) as running,
        connected(running.address) as client,
    ):
        for number in range(10):
            if number == 5:  # what is made once and kept is there by now
                gc.collect()
                gc.set_debug(gc.DEBUG_SAVEALL)
            assert (await client.post(EVENT)).status == 201
        try:
            gc.collect()
            ours = [type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("sidecar.")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    assert ours == []


# --- what it starts from ---


def test_a_label_that_a_route_needs_must_be_given(tmp_path: Path) -> None:
    """Without it a pod would send to an unintended stream, so it does not start."""
    config = to_one("127.0.0.1:1")
    config["routes"] = [{"name": "r", "to": "main", "stream": "score.{labels.isvc}"}]
    words = r"routes\[0\]\.stream uses label isvc, which this pod does not have; set it with --label isvc=…"
    with pytest.raises(ConfigError, match=words):
        Runtime(Settings(written(tmp_path, config)))


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """At the start, not at the first event."""
    config = to_one("127.0.0.1:1", scheme="https", tls={"ca_file": f"{tmp_path}/ca.pem"})
    with pytest.raises(SettingError, match=rf"^tls\.ca_file {tmp_path}/ca\.pem cannot be read as PEM"):
        Runtime(Settings(written(tmp_path, config)))


def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    """A second sidecar on one port does not start."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(
            SettingError,
            match=f"^cannot listen on {address}: Address already in use; stop what listens there, or use another port$",
        ):
            Runtime(Settings(written(tmp_path, to_one("127.0.0.1:1")), listen=address))


# --- while it runs ---


async def test_it_is_ready_even_if_no_upstream_is(tmp_path: Path) -> None:
    """Taking a pod out because EventGate is down would help no one."""
    with refusing() as nobody:
        async with sidecar(to_one(nobody), tmp_path) as running:
            async with asyncio.timeout(PATIENCE):
                while (await running.get("/readyz")).status != 200:
                    pass
            assert (await running.get("/livez")).status == 200


async def test_the_clusters_listener_takes_no_events(tmp_path: Path) -> None:
    """And the listener for events has no metrics."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:
        async with connected(running.admin) as client:
            assert (await client.post(EVENT)).status == 404
        assert (await running.get("/metrics", running.address)).status == 404
        assert gate.requests == []


# --- how it stops ---


async def test_sigint_finishes_requests_in_flight(tmp_path: Path) -> None:
    """Nothing new is taken."""
    release = asyncio.Event()
    async with FakeEventGate(after(release)) as gate, sidecar(to_one(gate.address), tmp_path) as running:
        async with connected(running.address) as client:
            await client.send(post(EVENT))
            await gate.received(1)
            os.kill(os.getpid(), signal.SIGINT)
            await eventually(lambda: "Stopping" in running.written.getvalue())
            await eventually(lambda: refuses(running.address))
            release.set()
            answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (201, "close")
        await stopped(running)
        assert actions(running) == ["ConfigLoaded", "Listening", "Stopping", "Stopped"]
        assert running.log[-1]["eventgate_sidecar"] == {"unanswered": 0}


def refuses(address: str) -> bool:
    """Whether nothing listens there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as trying:
        return trying.connect_ex((host, int(port))) != 0


async def test_sigterm_takes_events_until_none_come(tmp_path: Path) -> None:
    """A draining model server still posts its last scores."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path, quiet=0.3) as running:
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: "Stopping" in running.written.getvalue())
        statuses = [(await running.post(EVENT)).status for _ in range(5)]
        assert (statuses, running.task.done()) == ([201] * 5, False)
        await stopped(running)
        assert actions(running)[2:] == ["Stopping", "Stopped"]


async def test_sigterm_does_not_wait_for_ever(tmp_path: Path) -> None:
    """It ends after the drain time, even if events keep coming."""
    async with (
        FakeEventGate() as gate,
        sidecar(to_one(gate.address), tmp_path, quiet=60.0, drain=0.2) as running,
        connected(running.address) as client,
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            while not running.task.done():
                try:
                    assert (await client.post(EVENT)).status == 201
                except (ConnectionError, asyncio.IncompleteReadError):
                    break  # it has stopped
        await stopped(running)


async def test_a_second_signal_ends_the_drain(tmp_path: Path) -> None:
    """At once."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path, quiet=60.0) as running:
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: "Stopping" in running.written.getvalue())
        os.kill(os.getpid(), signal.SIGTERM)
        await stopped(running)


async def test_without_a_drain_sigterm_is_like_sigint(tmp_path: Path) -> None:
    """With `--drain 0`."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path, drain=0.0) as running:
        os.kill(os.getpid(), signal.SIGTERM)
        await stopped(running)
