"""Opens the spool at the start, replays it while the sidecar runs, and closes it at the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sidecar.delivery.coalescer import Coalescer
from sidecar.routes.routing import Router
from sidecar.spool.groupcommit import Hand
from sidecar.spool.keeping import Keeping
from sidecar.spool.policy import reroute
from sidecar.spool.record import Quota
from sidecar.spool.replay import Passage, Replay
from sidecar.spool.store import PUT_SECONDS, Spool, SpoolState
from sidecar.telemetry.happenings import SpoolLeft, SpoolNotPrinted, SpoolRerouted
from sidecar.telemetry.telemetry import Telemetry
from sidecar.upstreams.endpoints import Pool

OPEN_SECONDS = 2.0
"""How long a start waits for the disk; after that events are taken without a spool until it is there."""
END_SECONDS = 5.0
"""How long an end waits for the disk, and for what is being sent again."""
EMPTY_SECONDS = 0.1
"""How often an end looks whether the spool is empty."""


class Spooling:
    """Everything of a running sidecar that has to do with its spool."""

    reserve = PUT_SECONDS
    """Seconds of a request's deadline that delivery leaves for the disk."""

    def __init__(
        self, directory: Path, telemetry: Telemetry, quota: Quota | None = None, hand: Hand | None = None
    ) -> None:
        """Prepare everything, without opening the file; `hand` runs blocking work, by default in a thread."""
        self._pools: Mapping[str, Pool] = {}
        self._telemetry = telemetry
        self._spool = Spool(directory, quota or Quota(), telemetry, hand=hand)
        self._replay = Replay(self._spool, telemetry, random.random, self._spool.now)
        self._tasks: list[asyncio.Task[None]] = []
        """Of the spool and of its replay, once they run."""

    def keeping(self, pools: Mapping[str, Pool], coalescer: Coalescer) -> Keeping:
        """Return the stage between an `intake` and this coalescer."""
        keeps = {name: pool.config.spool for name, pool in pools.items()}
        return Keeping(coalescer.deliver, self._spool, keeps, self._spool.now)

    def follow(
        self, pools: Mapping[str, Pool], keeping: Keeping, pressing: Callable[[str], bool], router: Router
    ) -> None:
        """Replay through `keeping` from now on, routed by `router` to these pools; `pressing`: see `Passage`."""
        self._report_changes(pools)
        self._pools = pools
        for name, pool in pools.items():
            for endpoint in pool.endpoints:
                endpoint.healed = functools.partial(self._replay.healed, name)
        self._replay.follow(Passage(pools, keeping.send, pressing, functools.partial(reroute, router=router)))

    @property
    def state(self) -> SpoolState:
        """The current state of the spool."""
        return self._spool.state

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Open the spool and start replay; returns when the order of its events is known."""
        self._tasks = [tasks.create_task(self._spool.run()), tasks.create_task(self._replay.run())]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                await self._spool.opened()

    async def empty(self) -> None:
        """Return when nothing waits any more, or the disk does not say."""
        while self.state.totals.events and not self.state.trouble:  # noqa: ASYNC110  it changes by the disk's hand
            await asyncio.sleep(EMPTY_SECONDS)

    async def end(self, *, prints: bool) -> None:
        """Send nothing more, say what is left of each stream, and close the file; `prints`: write it out, too."""
        running, replaying = self._tasks
        self._replay.stop()
        await asyncio.wait([replaying], timeout=END_SECONDS)
        replaying.cancel()
        totals = self.state.totals
        for stream, count in totals.streams.items():
            self._telemetry.emit(SpoolLeft(stream, count))
        if prints:
            printed = await self._print_what_is_left()
            if printed < totals.events:
                self._telemetry.emit(SpoolNotPrinted(totals.events - printed, printed))
        self._spool.close()
        await asyncio.wait([running], timeout=END_SECONDS)
        running.cancel()

    def _report_changes(self, pools: Mapping[str, Pool]) -> None:
        """Report waiting events whose upstream was removed or has another URL now; they are routed again."""
        for upstream, count in self.state.totals.upstreams.items():
            before, after = self._pools.get(upstream), pools.get(upstream)
            if before is not None and (after is None or after.config.url != before.config.url):
                self._telemetry.emit(
                    SpoolRerouted(upstream, count, before.config.url, after.config.url if after else "")
                )

    async def _print_what_is_left(self) -> int:
        """Print waiting events for at most `END_SECONDS`; return how many were printed."""
        printed, clock = 0, asyncio.get_running_loop().time
        ends = clock() + END_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * END_SECONDS):  # standard output may not be read
                async for count in self._spool.written(sys.stdout.buffer.write):
                    printed = count
                    if clock() > ends:
                        break
        return printed
