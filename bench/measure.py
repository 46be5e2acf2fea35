"""One measured run: a fresh proxy, a warm-up in which every answer must be 201, or 202 from the spool, and the load."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.cases import SIDECAR, SOME, SPOOLED, Case, ways_of
from bench.figures import DISTURBING, Figures
from bench.processes import StartError, busy_seconds, cpu_seconds, ended_seconds
from bench.upstream import Upstream, Upstreams
from bench.ways import Way, open_way

WARM_UP_SECONDS = 1
UPSTREAM_WARM_UP_SECONDS = 3
"""Node compiles what it runs often, and the first way must not pay for all."""


@dataclass(frozen=True)
class Plan:
    """What is run, and how often."""

    cases: Sequence[Case]
    ways: Sequence[str]
    repetitions: int
    seconds: int
    again: int = 0
    """How often a run is repeated, at most, where other processes took part of the machine meanwhile."""

    def __len__(self) -> int:
        return self.repetitions * sum(case.turns * len(ways_of(case, self.ways)) for case in self.cases)

    def order(self) -> Iterator[tuple[Case, str]]:
        """Yield the runs: the ways take turns, and in each repetition another one begins."""
        for repetition in range(self.repetitions):
            for case in self.cases:
                for turn in range(case.turns):
                    first = (repetition + turn) % len(self.ways)
                    for way in ways_of(case, (*self.ways[first:], *self.ways[:first])):
                        yield case, way


async def runs(
    plan: Plan, upstreams: Upstreams, folder: Path, envoy: Path | None
) -> AsyncIterator[tuple[Case, str, Figures]]:
    """Run the plan; a run that fails is one with the reason in `why`."""
    for upstream in upstreams.by_tls.values():
        await load.run(upstream.url, SOME, UPSTREAM_WARM_UP_SECONDS, folder)
    for name in {SIDECAR, SPOOLED}.intersection(plan.ways):
        await _compile(name, next(iter(upstreams.by_tls.values())), folder)
    for case, way in plan.order():
        try:
            figures = await _run(case, way, upstreams.by_tls[case.tls], folder, envoy, plan.seconds)
            for _ in range(plan.again):
                if (figures.others or 0.0) <= DISTURBING or figures.why:
                    break
                other = await _run(case, way, upstreams.by_tls[case.tls], folder, envoy, plan.seconds)
                figures = min(figures, other, key=lambda each: (not each.why, each.others or 0.0))
        except (StartError, load.LoadError) as error:
            figures = Figures(why=str(error))
        yield case, way, figures


async def _compile(name: str, upstream: Upstream, folder: Path) -> None:
    """Start it once, so that no measured start is the one in which Python compiles what it loads."""
    with suppress(StartError):  # a measured start tells of it
        way = await open_way(name, SOME, upstream, folder, envoy=None)
        if way.process:
            await way.process.stop()


async def _run(case: Case, name: str, upstream: Upstream, folder: Path, envoy: Path | None, seconds: int) -> Figures:
    way = await open_way(name, case, upstream, folder, envoy)
    idle = [await asyncio.open_connection(*way.address) for _ in range(case.idle)]
    try:
        warm = await load.run(way.url, case, WARM_UP_SECONDS, folder, status=202 if name == SPOOLED else 201)
        before = _Meter.read(way, upstream)
        loaded = await load.run(way.url, case, seconds, folder)
        spent = _Meter.read(way, upstream) - before
        rss = way.process.rss_mib() if way.process else None
    finally:
        for _, writer in idle:
            writer.close()
        if way.process:
            await way.process.stop()
    events = max(1, loaded.requests * case.array)
    failed = warm.failed + loaded.failed
    return Figures(
        events_per_s=loaded.requests * case.array / loaded.seconds,
        p50_ms=loaded.p50_ms,
        p99_ms=loaded.p99_ms,
        cpu_us=spent.way / events * 1e6 if way.process else None,
        upstream_cpu_us=spent.upstream / events * 1e6 if upstream.pid else None,
        rss_mib=rss,
        ready_s=way.process.ready_seconds if way.process else None,
        others=spent.others / (loaded.seconds * len(os.sched_getaffinity(0))) if upstream.pid else None,
        why=f"{failed} answers were not as they should be, or connections broke" if failed else "",
    )


@dataclass(frozen=True)
class _Meter:
    """Processor time in seconds."""

    way: float
    upstream: float
    load: float
    machine: float

    @classmethod
    def read(cls, way: Way, upstream: Upstream) -> _Meter:
        return cls(
            way=way.process.cpu_seconds() if way.process else 0.0,
            upstream=cpu_seconds(upstream.pid) if upstream.pid else 0.0,
            load=ended_seconds(),
            machine=busy_seconds(),
        )

    def __sub__(self, other: _Meter) -> _Meter:
        return _Meter(
            self.way - other.way, self.upstream - other.upstream, self.load - other.load, self.machine - other.machine
        )

    @property
    def others(self) -> float:
        """What somebody else's processes took."""
        return max(0.0, self.machine - self.way - self.upstream - self.load)
