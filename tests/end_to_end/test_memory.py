"""The sidecar under the worst that one pod can do to it: its memory stays under `CAP`, and others are served.

`CAP` is the memory limit of the container in `helm/eventgate-sidecar/values.yaml`; a test holds the two together.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import resource
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.events.event import MAX_EVENTS, MAX_VALUES
from tests.end_to_end.attacks import EVENT, MB, head
from tests.end_to_end.conftest import written
from tests.end_to_end.load import all_are_taken
from tests.end_to_end.processes import ROOT, Emulator, Process, Sidecar, ask, emulator, sidecar
from tests.fakes import connected, eventually, post
from tests.running import to_one, upstream

CAP = 200 * MB
TIMEOUTS = {"connect": "3s", "attempt": "3s", "deadline": "4s"}
LARGE = b'{"meta":{"stream":"s"},"x":"%b"}' % (b"x" * (9 * MB))
"""An event that EventGate refuses, and echoes whole."""


@pytest.fixture(scope="module", autouse=True)
def many_files() -> Iterator[None]:
    """Let this process hold 10,000 connections, where the machine allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 10_500:
        pytest.skip(f"needs 10,500 file descriptors, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 10_500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def beset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Run one sidecar that meets all of them, one after the other.

    What takes an emulated EventGate seconds goes to one of its own: others are to be kept waiting by nothing but us.
    """
    folders = [tmp_path_factory.mktemp(name) for name in ("eventgate", "busy")]
    with emulator(folders[0]) as gate, emulator(folders[1]) as busy:
        config: dict[str, Any] = to_one(gate.address, timeouts=TIMEOUTS)
        config["upstreams"]["busy"] = upstream(busy.address, timeouts=TIMEOUTS)
        config["routes"].insert(0, {"name": "wide", "match": {"stream": "wide"}, "to": "busy"})
        with sidecar(written(config, tmp_path_factory.mktemp("routes"))) as running:
            yield running


@contextlib.asynccontextmanager
async def others_are_served(running: Sidecar) -> AsyncIterator[None]:
    """Post events all the while, each on a new connection: all are taken in time; then look at the memory."""

    async def on_a_new_connection() -> int:
        async with connected(running.address) as client:
            return (await client.post(EVENT)).status

    async with all_are_taken(on_a_new_connection, apart=0.05):
        yield
    assert peak(running.process) < CAP


def peak(process: Process) -> int:
    """Return the most memory that the process ever had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def seconds_of_cpu(process: Process) -> float:
    """Return how long the process has been running on a CPU."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def at_once(running: Sidecar, count: int, data: bytes) -> Counter[int]:
    """Send this on so many connections, and count the statuses of the answers."""

    async def one() -> int:
        async with connected(running.address) as client:
            await client.send(data)
            return (await client.answer()).status

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


def test_the_cap_is_the_limit_of_the_container() -> None:
    """These tests measure against the limit of a pod."""
    values = yaml.safe_load((ROOT / "helm/eventgate-sidecar/values.yaml").read_text())
    assert str(values["resources"]["limits"]["memory"]) == f"{CAP // MB}Mi"


async def test_slow_bodies_of_10_mb(beset: Sidecar) -> None:
    """Of 256 incomplete bodies, only as many are held as fit, and none for long."""
    async with others_are_served(beset), contextlib.AsyncExitStack() as stack:
        for _ in range(256):
            client = await stack.enter_async_context(connected(beset.address))
            await client.send(post(LARGE)[:MB])


async def test_large_bodies_at_once(beset: Sidecar) -> None:
    """Those without room get a Retry-After; small events always fit."""
    async with others_are_served(beset):
        statuses = await at_once(beset, 20, post(LARGE))
    assert set(statuses) <= {500, 503}
    assert statuses[503] > 0


async def test_compressed_bodies_count_by_their_inflated_size(beset: Sidecar) -> None:
    """Bodies of 9 kB that inflate to 9 MB count as 9 MB, and bombs are not inflated completely."""
    body = gzip.compress(LARGE)
    async with others_are_served(beset):
        statuses = await at_once(beset, 6, post(body, content_encoding="gzip"))
        bombs = await at_once(beset, 30, post(gzip.compress(bytes(50 * MB)), content_encoding="gzip"))
    assert set(statuses) <= {500, 503}
    assert set(bombs) <= {500, 503}


async def test_unread_answers(beset: Sidecar) -> None:
    """Each answer echoes 9 MB to a client that does not read: it is cut off, and its unread bytes count."""
    async with others_are_served(beset), contextlib.AsyncExitStack() as stack:
        deaf = [await stack.enter_async_context(connected(beset.address)) for _ in range(20)]
        for client in deaf:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.writer.write(post(LARGE))
        await eventually(lambda: beset.gauge("eventgate_sidecar_bytes_in_flight") > 8 * MB)
        await eventually(lambda: beset.gauge("eventgate_sidecar_bytes_in_flight") < MB)


async def test_wide_bodies(beset: Sidecar) -> None:
    """As many events and values as a body may have, on the fast and the slow path."""
    events = b"[" + b",".join([b'{"meta":{"stream":"wide"}}'] * MAX_EVENTS) + b"]"
    values = b'{"meta":{"stream":"wide"},"x":"\\ud800","y":[' + b",".join([b"{}"] * (MAX_VALUES // 2 - 9)) + b"]}"
    async with others_are_served(beset):
        await at_once(beset, 3, post(events))
        await at_once(beset, 3, post(values))


async def test_floods_of_distinct_names(beset: Sidecar) -> None:
    """Distinct streams, headers, paths and types leave nothing behind, and no labels."""
    async with others_are_served(beset):
        pass  # what is counted of every event is there
    before = len(ask(beset.admin, "GET", "/metrics").body)
    async with others_are_served(beset), connected(beset.address) as client:
        for number in range(1000):
            event = b'{"meta":{"stream":"%d-%b"}}' % (number, b"s" * 200)
            kind = f"application/json; x={number}"
            await client.send(post(event, f"/v1/events?x={number}", x_request_id=f"{number}", content_type=kind))
            await client.answer()
    assert len(ask(beset.admin, "GET", "/metrics").body) < before + 1000


async def test_10_000_connections(beset: Sidecar) -> None:
    """The oldest, idle or with half a request, make room for a new client."""
    async with others_are_served(beset), contextlib.AsyncExitStack() as stack:
        for number in range(10_000):
            client = await stack.enter_async_context(connected(beset.address))
            if number % 2:
                client.writer.write(head()[:-9])
        assert beset.process.open_files < 2500
    await eventually(lambda: beset.connections == 0)


async def test_a_storm_of_connections(beset: Sidecar) -> None:
    """2,000 short connections at once, some without a request and some with one event, are all served."""

    async def come_and_go(number: int) -> None:
        async with connected(beset.address) as client:
            if number % 2:
                assert (await client.post(EVENT)).status == 201

    async with others_are_served(beset):
        for _ in range(4):
            await asyncio.gather(*(come_and_go(number) for number in range(500)))


async def test_without_file_descriptors_it_neither_spins_nor_dies(eventgate: Emulator, tmp_path: Path) -> None:
    """Without free descriptors, connections are turned away; it recovers when some are free again."""
    with sidecar(written(to_one(eventgate.address), tmp_path)) as running:
        async with connected(running.address) as client:
            assert (await client.post(EVENT)).status == 201
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    await stack.enter_async_context(connected(running.address))
            await eventually(lambda: running.process.open_files >= 60)
            clock = asyncio.get_running_loop().time
            began, used = clock(), seconds_of_cpu(running.process)
            await eventually(lambda: clock() > began + 1)
            assert seconds_of_cpu(running.process) - used < (clock() - began) / 2
        await eventually(lambda: running.process.open_files < 40)
        async with connected(running.address) as client:
            assert (await client.post(EVENT)).status == 201
