"""One measured run: a fresh proxy, a warm-up in which every answer must be 201, and the load."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.cases import DIRECT, Case
from bench.figures import Figures
from bench.processes import StartError, cpu_seconds
from bench.upstream import Upstream, Upstreams
from bench.ways import Way, open_way

WARM_UP_SECONDS = 1


@dataclass(frozen=True)
class Plan:
    """What is run, and how often."""

    cases: Sequence[Case]
    ways: Sequence[str]
    repetitions: int
    seconds: int

    def __len__(self) -> int:
        return self.repetitions * len(self.cases) * len(self.ways)

    def order(self) -> Iterator[tuple[Case, str]]:
        """Yield the runs: the ways take turns within a repetition, and in each repetition another one begins."""
        for repetition in range(self.repetitions):
            first = repetition % len(self.ways)
            for case in self.cases:
                for way in (*self.ways[first:], *self.ways[:first]):
                    yield case, way


async def runs(
    plan: Plan, upstreams: Upstreams, folder: Path, envoy: Path | None
) -> AsyncIterator[tuple[Case, str, Figures]]:
    """Run the plan; a run that fails is one with the reason in `why`."""
    for case, way in plan.order():
        try:
            figures = await _run(case, way, upstreams.by_tls[case.tls], folder, envoy, plan.seconds)
        except (StartError, load.LoadError) as error:
            figures = Figures(why=str(error))
        yield case, way, figures


async def _run(case: Case, name: str, upstream: Upstream, folder: Path, envoy: Path | None, seconds: int) -> Figures:
    way = await open_way(name, upstream, folder, envoy)
    try:
        warm = await load.run(way.url, case, WARM_UP_SECONDS, folder, strict=True)
        before = _cpu(way, upstream)
        loaded = await load.run(way.url, case, seconds, folder)
        after = _cpu(way, upstream)
        rss = way.process.rss_mib() if way.process else None
    finally:
        if way.process:
            await way.process.stop()
    events = max(1, loaded.requests * case.array)
    own, theirs = (
        (b - a) / events * 1e6 if a is not None and b is not None else None for a, b in zip(before, after, strict=True)
    )
    failed = warm.failed + loaded.failed
    return Figures(
        events_per_s=loaded.requests * case.array / loaded.seconds,
        p50_ms=loaded.p50_ms,
        p99_ms=loaded.p99_ms,
        cpu_us=own if name != DIRECT else None,
        upstream_cpu_us=theirs,
        rss_mib=rss,
        ready_s=way.process.ready_seconds if way.process else None,
        why=f"{failed} answers were not as they should be, or connections broke" if failed else "",
    )


def _cpu(way: Way, upstream: Upstream) -> tuple[float | None, float | None]:
    own = way.process.cpu_seconds() if way.process else None
    return own, cpu_seconds(upstream.pid) if upstream.pid else None
