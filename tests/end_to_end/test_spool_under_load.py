"""The spool under load: a sidecar that is killed again and again, and an outage of every datacenter.

What counts is what the emulated EventGates have kept. Both tests have a long version, for a quiet machine:

    SIDECAR_TEST_KILLS=300 SIDECAR_TEST_OUTAGE=60 make test ARGS='-k spool_under_load -s'
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sidecar.spool.policy import MAX_BATCHES, MAX_EVENTS
from tests.end_to_end.conftest import QUICK_CHECKS, written
from tests.end_to_end.load import Answers, new_ids, post_on_and_on, post_steadily
from tests.end_to_end.processes import Emulator, emulator, sidecar
from tests.running import to_one
from tests.spool.spools import waiting

KILLS = int(os.environ.get("SIDECAR_TEST_KILLS", "20"))
"""How often the sidecar is killed."""
LONGEST_LIFE = 0.6
"""Seconds until it is killed, at most."""
OUTAGE_SECONDS = float(os.environ.get("SIDECAR_TEST_OUTAGE", "8"))
"""How long no datacenter takes anything."""
EACH_SECOND = 200
"""Events posted during the outage and after it."""
LIVE_P99_SECONDS = 0.25
"""What a live event may take while the spool is sent again. On a quiet machine it is under 0.05; CI's are not."""
CATCHING_UP_SECONDS = 30.0
"""Until what waits has arrived, at most."""

PRODUCERS = 4
"""Each posts one event after the other."""
MAX_UNDER_WAY = MAX_BATCHES * MAX_EVENTS
"""Events of the spool that a kill can catch on their way."""

Gates = tuple[Emulator, Emulator]


@pytest.fixture
def datacenters(tmp_path: Path) -> Iterator[Gates]:
    """Run an EventGate in each of two datacenters."""
    with emulator(tmp_path, "eqiad") as eqiad:
        beside = eqiad.address.replace("127.0.0.1", "127.0.0.2")
        with emulator(tmp_path, "codfw", beside) as codfw:
            yield eqiad, codfw


def set_faults(gates: Sequence[Emulator], faults: Sequence[str]) -> None:
    """Let each go wrong in its own way from now on."""
    for gate, fault in zip(gates, faults, strict=True):
        gate.fault(fault)


def taken(gates: Sequence[Emulator]) -> Counter[str]:
    """Return how often each event was taken, by its id."""
    return Counter(kept["event"]["meta"]["id"] for gate in gates for kept in gate.kept)


def taken_in_a_life(gates: Sequence[Emulator]) -> Counter[str]:
    """Return the same, once what they had received is judged; none of it is told again."""
    set_faults(gates, ("none", "none"))
    found = taken(gates)
    for gate in gates:
        gate.forget()
    return found


def say(words: str) -> None:
    """Tell who runs this by hand what was measured."""
    sys.stdout.write(f"\n{words}\n")


async def until(true: Callable[[], bool]) -> None:
    """Return once `true()` holds; looks only now and then, since it costs those who are measured."""
    async with asyncio.timeout(CATCHING_UP_SECONDS):
        while not true():  # noqa: ASYNC110  what is polled has no event to wait for
            await asyncio.sleep(0.2)


async def live_until_killed(
    routes: Path, folder: Path, gates: Gates, ids: Iterator[str], answers: Answers, chance: random.Random
) -> None:
    """Run a sidecar under load while datacenters go and come back, and kill it at any moment."""
    with sidecar(routes, "--spool", str(folder)) as running:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PRODUCERS):
                tasks.create_task(post_on_and_on(running.address, ids, answers))
            for faults in (chance.choices(("none", "unavailable", "unavailable"), k=2), ("none", "none")):
                await asyncio.sleep(chance.uniform(0.0, LONGEST_LIFE / 3))
                set_faults(gates, faults)
            await asyncio.sleep(chance.uniform(0.0, LONGEST_LIFE / 3))  # while the spool is sent, often enough
            running.process.tell(signal.SIGKILL)


async def test_a_sidecar_killed_at_any_moment_loses_nothing(tmp_path: Path, datacenters: Gates) -> None:
    """Every event answered 201 or 202 arrives, more than once only if a kill came before the delivery was recorded."""
    # Where an attempt is late no second one is sent beside it: then only a kill can make anything arrive twice.
    config = to_one(*(gate.address for gate in datacenters), on_ambiguous="spool", **QUICK_CHECKS)
    routes, spool, chance = written(config, tmp_path), tmp_path / "spool", random.Random()
    ids, answers, lives = new_ids(), Answers(), list[Counter[str]]()
    for _ in range(KILLS):
        set_faults(datacenters, chance.choices(("none", "unavailable", "refuse"), k=2))
        await live_until_killed(routes, spool, datacenters, ids, answers, chance)
        lives.append(taken_in_a_life(datacenters))
    missing = answers.keys() - set().union(*lives)
    with sidecar(routes, "--spool", str(spool)) as running:
        await until(lambda: missing <= taken(datacenters).keys())
        running.process.tell(signal.SIGINT)
        assert await asyncio.to_thread(running.process.end) == 0
    lives.append(taken_in_a_life(datacenters))
    assert waiting(spool) == []
    statuses = Counter(told.status for told in answers.values())
    assert statuses.keys() == {201, 202}
    before, twice = Counter[str](), 0
    for life in lives:
        again = life & before
        assert set(life.values()) <= {1}
        assert again.total() <= MAX_UNDER_WAY
        before += life
        twice += again.total()
    say(f"{KILLS} kills; {statuses[201]} events answered 201, {statuses[202]} answered 202; {twice} arrived twice")


async def test_an_outage_of_every_datacenter_costs_nothing(tmp_path: Path, datacenters: Gates) -> None:
    """All are answered 202 and arrive afterwards; the spool does not slow live events down."""
    config = to_one(*(gate.address for gate in datacenters), **QUICK_CHECKS)
    ids, answers, clock = new_ids(), Answers(), asyncio.get_running_loop().time
    over = asyncio.Event()
    with sidecar(written(config, tmp_path), "--spool", str(tmp_path / "spool")) as running:
        async with asyncio.TaskGroup() as tasks:
            set_faults(datacenters, ("refuse", "refuse"))
            tasks.create_task(post_steadily(running.address, ids, answers, EACH_SECOND, over.is_set))
            await asyncio.sleep(OUTAGE_SECONDS)
            during, healed = set(answers), clock()
            set_faults(datacenters, ("none", "none"))
            # Only the last is looked for: the spool is sent in order, and to read them all would hold up the producers.
            await until(lambda: any(max(during).encode() in gate.output.read_bytes() for gate in datacenters))
            replayed = clock()
            over.set()
        await until(lambda: answers.keys() <= taken(datacenters).keys())
    live = sorted(told.seconds for told in answers.values() if healed <= told.asked < replayed)
    p99 = live[len(live) * 99 // 100]
    say(
        f"{len(during)} events in {OUTAGE_SECONDS:g} s without an endpoint, sent within {replayed - healed:.1f} s; "
        f"{len(live)} live events meanwhile, p50 {live[len(live) // 2] * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"
    )
    assert {told.status for told in answers.values()} <= {201, 202}
    assert {answers[id_].status for id_ in during} == {202}
    assert p99 < LIVE_P99_SECONDS
