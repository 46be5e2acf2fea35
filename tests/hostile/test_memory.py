"""Answers of an upstream take bounded memory, measured in a separate process, and it is freed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import written
from tests.end_to_end.processes import Sidecar, sidecar
from tests.fakes import PATIENCE, FakeEventGate, Line, Received, Reply, answer, connected, eventually
from tests.hostile.upstreams import chunk, echo, flood, memory_in_mib
from tests.running import to_one

MIB = 1024 * 1024
SENDERS = 32
CAP_MIB = 24
"""What all of it may add to the process. A pod's limit is 100 MiB, of which it has about half at rest."""
JSON_200_MB = 200_000_000
SETTINGS: dict[str, Any] = {
    "timeouts": {"connect": "2s", "attempt": "2s", "deadline": "4s"},
    "on_ambiguous": "fail",
    "coalesce": {"max_events": 1},
    "outlier": {"consecutive": 1000, "requests": 1000},
    "health_check": {"interval": "300ms", "timeout": "300ms"},
}


def large_json(begin: bytes, again: bytes, *, chunked: bool) -> Reply:
    """Answer 207 with 200 MB of JSON, as far as they are taken."""
    part = again * (65536 // len(again))

    async def reply(_: Received, line: Line) -> None:
        length = "transfer-encoding: chunked" if chunked else f"content-length: {JSON_200_MB}"
        line.write(f"HTTP/1.1 207 Some\r\n{length}\r\n\r\n".encode())
        line.write(chunk(begin) if chunked else begin)
        for _part in range(JSON_200_MB // len(part)):
            line.write(chunk(part) if chunked else part)
            await line.drain()

    return reply


def just_fits(element: bytes) -> Reply:
    """Answer 207 with as many of these as an answer to a small event may have."""
    return answer(207, "Some", b'{"invalid":[%b],"error":[]}' % b",".join([element] * (250_000 // (len(element) + 1))))


ONE_ECHO = json.dumps(echo("z")).encode() + b","
UPSTREAMS: dict[str, Reply] = {
    "200 MB of JSON": large_json(b'{"invalid":[', ONE_ECHO, chunked=False),
    "200 MB of JSON in chunks": large_json(b'{"invalid":[', ONE_ECHO, chunked=True),
    "200 MB of brackets": large_json(b'{"invalid":', b"[", chunked=False),
    "as many numbers as fit": just_fits(b"1"),
    "as many failures as fit": just_fits(b'{"status":"invalid"}'),
    "as many brackets as fit": answer(207, "Some", b'{"invalid":' + b"[" * 250_000),
    "endless headers": flood(b"HTTP/1.1 201 Created\r\n", b"x-more: and more\r\n" * 1000),
    "1xx flood": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
}


@contextlib.asynccontextmanager
async def before(gate: FakeEventGate, folder: Path) -> AsyncIterator[Sidecar]:
    """Run a sidecar as a process before this upstream."""
    with sidecar(written(to_one(gate.address, **SETTINGS), folder)) as running:
        yield running


async def post_many(running: Sidecar) -> set[int]:
    """Post from many connections at once; return the statuses."""

    async def one(number: int) -> int:
        async with connected(running.address) as client:
            return (await client.post(b'{"meta":{"stream":"s","id":"%d"}}' % number)).status

    async with asyncio.TaskGroup() as tasks:
        sent = [tasks.create_task(one(number)) for number in range(SENDERS)]
    return {each.result() for each in sent}


async def well_again(running: Sidecar) -> None:
    """Return once everybody is accepted; doubt about the upstream may last for a few checks."""
    async with asyncio.timeout(PATIENCE):
        while await post_many(running) != {201}:
            pass


@pytest.mark.parametrize("reply", [pytest.param(reply, id=name) for name, reply in UPSTREAMS.items()])
async def test_answers_of_any_size_cost_little_memory(tmp_path: Path, reply: Reply) -> None:
    """32 at once cost at most 24 MiB; everyone is answered, and connections are released."""
    async with FakeEventGate() as gate, before(gate, tmp_path) as running:
        assert await post_many(running) == {201}
        at_rest, files = memory_in_mib(running.process.pid, "VmHWM"), running.process.open_files
        gate._otherwise = reply
        assert await post_many(running) <= {500, 503}
        assert memory_in_mib(running.process.pid, "VmHWM") - at_rest < CAP_MIB
        gate._otherwise = answer(201)
        await well_again(running)
        await eventually(lambda: running.process.open_files <= files + SENDERS)  # idle ones, kept for a while


async def test_health_checks_cost_little_memory(tmp_path: Path) -> None:
    """An endless body, endless headers and floods on `/_info`, three times a second, cost little and end soon."""
    body = flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)
    async with FakeEventGate() as gate, before(gate, tmp_path) as running:
        assert await post_many(running) == {201}
        at_rest, files = memory_in_mib(running.process.pid, "VmHWM"), running.process.open_files
        for health in (body, UPSTREAMS["endless headers"], UPSTREAMS["1xx flood"], UPSTREAMS["200 MB of JSON"]):
            gate._health = health
            checked = gate.connections + 2
            await eventually(lambda wanted=checked: gate.connections >= wanted)  # type: ignore[misc]
            assert await post_many(running) <= {201, 503}  # it may be held for unhealthy, rightly so
        assert memory_in_mib(running.process.pid, "VmHWM") - at_rest < CAP_MIB
        gate._health = answer(200)
        await well_again(running)
        await eventually(lambda: running.process.open_files <= files + SENDERS)
