"""A process killed at any moment: every acknowledged event is in the spool."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.spool.directory import SpoolDir
from sidecar.spool.record import Quota
from tests.spool.spools import NOON

KILLS = int(os.environ.get("SIDECAR_TEST_KILLS", "20"))
"""How often it is killed; a few hundred are the long version."""

PRODUCER = """
import asyncio, itertools, logging, sys, time
from pathlib import Path
from sidecar.spool.store import Kept, Spool
from sidecar.spool.record import Quota, Spooled
from sidecar.telemetry.telemetry import Telemetry
from tests.spool.spools import put

numbers = itertools.count(1)

async def main():
    spool = Spool(Path(sys.argv[1]), Quota(), Telemetry([], logging.Logger("", logging.CRITICAL)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(spool.run())
        await spool.opened()
        for _ in range(16):
            tasks.create_task(produce(spool))
        tasks.create_task(replay(spool))

async def produce(spool):
    while True:
        number = next(numbers)
        event = Spooled(upstream="main", stream="score", id=str(number), body=b"%d" % number * 200,
                        first_seen=time.time())
        if (await put(spool, [event])).kept is Kept.STORED:
            say("+", number)

async def replay(spool):
    while True:
        for event in await spool.hand_out("main", 7, 10**6):
            say("-", event.id)
            await spool.delivered([event])
        await asyncio.sleep(0.002)

def say(what, number):
    sys.stdout.write(f"{what}{number}\\n")
    sys.stdout.flush()

asyncio.run(main())
"""


def killed_after(seconds: float, folder: Path) -> tuple[set[int], set[int]]:
    """Store and send events, and kill the process; return which were acknowledged and which were sent."""
    process = subprocess.Popen([sys.executable, "-c", PRODUCER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    lines += process.stdout.read().splitlines()
    process.stdout.close()
    process.wait()
    whole = [line.strip() for line in lines if line.strip()[1:].isdigit()]
    acknowledged = {int(line[1:]) for line in whole if line[0] == "+"}
    return acknowledged, {int(line[1:]) for line in whole if line[0] == "-"}


@pytest.mark.parametrize("seed", range(KILLS))
def test_every_acknowledged_event_survives_a_kill(tmp_path: Path, seed: int) -> None:
    """Each is in the spool or was sent; its bytes are sound, and no file was set aside."""
    acknowledged, sent = killed_after(random.Random(seed).uniform(0.0, 0.3), tmp_path)
    directory = SpoolDir(tmp_path, Quota())
    try:
        (found,) = directory.commit([lambda file: list(file.waiting())], NOON)
    finally:
        directory.close()
    there = {int(event.id or 0) for event, sound in found if sound and event.body == b"%d" % int(event.id or 0) * 200}
    assert len(there) == len(found)
    assert acknowledged <= there | sent
    assert acknowledged
    assert [each for each in directory.found() if "-wal" not in getattr(each, "name", "")] == []
