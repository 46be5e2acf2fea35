"""`python -m tests.longrun.gateway`: how fast a spool is handed over, and how many clients a gateway serves.

Two measurements with real processes on the loopback interface, printed as JSON:

- a sidecar whose EventGate is down ends with `EVENTS` events of 1 kB in its spool, and hands them over;
- `CLIENTS` clients, each with its own address, together post `RATE` events a second for `SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from sidecar.spool.record import Quota, Spooled
from tests.end_to_end.load import an_event
from tests.end_to_end.processes import Process, Sidecar, emulator, sidecar
from tests.fakes import refusing
from tests.running import to_one
from tests.spool.spools import NOON, spool_file

EVENTS = 20_000
CLIENTS, RATE, SECONDS = 500, 2_000, 20.0
SPOOLED_AT_ONCE = 1_000
GATEWAY = ("--gateway", "--hand-over-from", "127.0.0.0/8")


async def main() -> None:
    """Run both measurements."""
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(await hand_over(Path(folder))) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(await clients(Path(folder))) + "\n")


async def hand_over(folder: Path) -> dict[str, Any]:
    """Return how many events per second are handed over, and the processor time of both ends."""
    with refusing() as nobody:
        routes = folder / "routes.yaml"
        routes.write_text(json.dumps(to_one(nobody)))
        _fill(folder / "pod")
        with sidecar(routes, "--spool", str(folder / "gateway"), *GATEWAY) as gateway:
            url = f"http://{gateway.address}/v1/events"
            with sidecar(routes, "--spool", str(folder / "pod"), "--drain", "30s", "--hand-over", url) as pod:
                await asyncio.sleep(3)  # it knows that its EventGate is down
                before = [_cpu(each.process) for each in (pod, gateway)]
                pod.process.tell(signal.SIGTERM)
                begun, seconds = await _all_taken(gateway)
                used = [_cpu(each.process) - since for each, since in zip((pod, gateway), before, strict=True)]
                await asyncio.to_thread(pod.process.end)
    return {
        "events": EVENTS,
        "events a second": round(EVENTS / seconds),
        "seconds": round(seconds, 2),
        "seconds until the first": round(begun, 2),
        "processor seconds of sidecar and gateway": used,
    }


def _fill(folder: Path) -> None:
    with spool_file(folder, Quota()) as file:
        for first in range(0, EVENTS, SPOOLED_AT_ONCE):
            with file.transaction():
                assert file.put([_spooled(number) for number in range(first, first + SPOOLED_AT_ONCE)])


def _spooled(number: int) -> Spooled:
    id_ = f"{number:08}-1111-4111-8111-111111111111"
    body = an_event(id_, "score", test="x" * 800)
    return Spooled(upstream="main", stream="score", came_as="score", body=body, id=id_, first_seen=NOON)


async def _all_taken(gateway: Sidecar) -> tuple[float, float]:
    """Return in how many seconds the first event arrived, and how long the rest took."""
    clock = asyncio.get_running_loop().time
    since = clock()
    first = 0.0
    while True:
        taken = await asyncio.to_thread(gateway.gauge, "eventgate_sidecar_spool_taken_over_events_total")
        if taken and not first:
            first = clock()
        if taken >= EVENTS:
            return first - since, clock() - first
        await asyncio.sleep(0.02)


async def clients(folder: Path) -> dict[str, Any]:
    """Return the answers to a gateway's clients, their latency, and the resources used."""
    with emulator(folder) as gate:
        routes = folder / "routes.yaml"
        routes.write_text(json.dumps(to_one(gate.address)))
        with sidecar(routes, "--spool", str(folder / "gateway"), *GATEWAY) as gateway:
            before, seconds, statuses = _cpu(gateway.process), list[float](), Counter[int]()
            async with asyncio.TaskGroup() as tasks:
                for number in range(CLIENTS):
                    tasks.create_task(_client(number, gateway.address, seconds, statuses))
            used = _cpu(gateway.process) - before
            peak = _peak(gateway.process)
    cuts = statistics.quantiles(seconds, n=100)
    return {
        "clients": CLIENTS,
        "events a second": round(len(seconds) / SECONDS),
        "statuses": dict(statuses),
        "p50 ms": round(cuts[49] * 1000, 1),
        "p99 ms": round(cuts[98] * 1000, 1),
        "worst ms": round(max(seconds) * 1000, 1),
        "processor seconds a second": round(used / SECONDS, 2),
        "peak MiB": peak,
    }


async def _client(number: int, address: str, seconds: list[float], statuses: Counter[int]) -> None:
    """Post at an even pace from one address, on a persistent connection."""
    host, _, port = address.rpartition(":")
    mine = (f"127.1.{number // 250}.{number % 250 + 1}", 0)
    clock, pause = asyncio.get_running_loop().time, CLIENTS / RATE
    await asyncio.sleep(pause * number / CLIENTS)
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=mine)
    begun = clock()
    for event in range(int(SECONDS / pause)):
        await asyncio.sleep(max(0.0, begun + event * pause - clock()))
        body = an_event(f"{number:04}{event:04}-1111-4111-8111-111111111111", "score", test="x" * 800)
        since = clock()
        head = f"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        seconds.append(clock() - since)
        statuses[int(answer.split()[1])] += 1
        if (length := answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) != b"0":
            await reader.readexactly(int(length))
    writer.close()


def _cpu(process: Process) -> float:
    """Return the processor seconds of a process."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _peak(process: Process) -> int:
    """Return the largest resident memory of a process, in MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
