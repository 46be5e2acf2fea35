"""Opens the spool at the start, replays it while the sidecar runs, and closes it at the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from sidecar.delivery.coalescer import Coalescer
from sidecar.eventgate.gateway import Gateway
from sidecar.routes.routing import Router
from sidecar.spool.directory import Trouble
from sidecar.spool.file import SpoolFile
from sidecar.spool.groupcommit import Hand
from sidecar.spool.handover import HandOver, LookUp, TakeOver
from sidecar.spool.keeping import Keeping
from sidecar.spool.policy import Routers, reroute
from sidecar.spool.record import Quota, Spooled, SpoolState, line_of
from sidecar.spool.replay import Passage, Replay
from sidecar.spool.schema import PAGE_BYTES, PAGE_ROWS
from sidecar.spool.store import PUT_SECONDS, Spool
from sidecar.telemetry.contained import keep_running
from sidecar.telemetry.happenings import SpoolLeft, SpoolNotPrinted, SpoolRerouted
from sidecar.telemetry.telemetry import Telemetry
from sidecar.upstreams.endpoints import Pool

OPEN_SECONDS = 2.0
"""How long the start waits for the disk; afterwards events are taken without a spool until it is open."""
HAND_OVER_SECONDS = 10.0
"""Part of `--drain` reserved for the hand-over, at most half of it."""
LEAST_HAND_OVER_SECONDS = 2.0
"""The hand-over's minimum time if requests in flight, or a stalled process, used up the reserved part."""
END_SECONDS = 5.0
"""How long the end waits for the disk, and for events in flight."""
EMPTY_SECONDS = 0.1
"""How often the end checks whether the spool is empty."""


class Spooling:
    """The spool of a running sidecar."""

    reserve = PUT_SECONDS
    """Seconds of a request's deadline reserved for the disk."""

    def __init__(
        self, directory: Path, telemetry: Telemetry, quota: Quota | None = None, hand: Hand | None = None
    ) -> None:
        """Prepare everything, without opening the file; `hand` runs blocking work, by default in a thread."""
        self._pools: Mapping[str, Pool] = {}
        self._telemetry = telemetry
        self._spool = Spool(directory, quota or Quota(), telemetry, hand=hand)
        self._replay = Replay(self._spool, telemetry, random.random, self._spool.now)
        self.taking = TakeOver(self._spool, telemetry)
        """Takes hand-overs of other sidecars, in a gateway."""
        self._handing: HandOver | None = None
        self._leaving = False
        self._configurations = 0
        self._tasks: list[asyncio.Task[None]] = []
        """The spool's, the replay's and the early hand-over's, once started."""

    def hand_over_to(self, gateway: Gateway, look_up: LookUp) -> None:
        """Hand over to this gateway, once started, events that would be lost."""
        self._handing = HandOver(self._spool, gateway, look_up, self._telemetry, random.random)

    @property
    def end_seconds(self) -> float:
        """Part of the drain time reserved for the time after the listeners have closed."""
        return HAND_OVER_SECONDS if self._handing else 0.0

    def keeping(self, pools: Mapping[str, Pool], coalescer: Coalescer) -> Keeping:
        """Return the stage between an `intake` and this coalescer."""
        keeps = {name: pool.config.spool for name, pool in pools.items()}
        self._configurations += 1
        return Keeping(coalescer.deliver, self._spool, keeps, self._spool.now, self._configurations)

    def follow(
        self, pools: Mapping[str, Pool], keeping: Keeping, pressing: Callable[[str], bool], router: Router
    ) -> None:
        """Replay through `keeping` from now on, routed by `router` to these pools; `pressing`: see `Passage`."""
        self._report_changes(pools)
        self._pools = pools
        for name, pool in pools.items():
            for endpoint in pool.endpoints:
                endpoint.healed = functools.partial(self._replay.healed, name)
        routers = self.taking.routers = Routers(router)

        def route(event: Spooled) -> Spooled | str:
            return event if event.routed_by == keeping.number else reroute(event, routers.of(event))

        self._replay.follow(Passage(pools, keeping.send, pressing, route))

    @property
    def state(self) -> SpoolState:
        """The current state of the spool."""
        state = self._spool.state
        if self._handing:
            state = replace(state, gateway=self._handing.host, gateway_trouble=self._handing.trouble)
        return state

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Open the spool and start replay; returns when the order of its events is known."""
        self._tasks = [tasks.create_task(self._spool.run()), tasks.create_task(self._replay.run())]
        if self._handing:
            early = functools.partial(self._handing.early, self._replay.failing, lambda: self._leaving)
            self._tasks.append(tasks.create_task(keep_running("hand-over", early, self._telemetry.emit)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                await self._spool.opened()

    def leave(self) -> None:
        """Refuse hand-overs, and hand over what no endpoint takes, since the end is near."""
        self._leaving = self.taking.stopping = True

    async def empty(self) -> None:
        """Wait until the spool has no events that an endpoint or a gateway takes now, or cannot be used."""
        while self._waits() and not self.state.trouble:  # noqa: ASYNC110  changes after a commit
            await asyncio.sleep(EMPTY_SECONDS)

    def _waits(self) -> bool:
        waiting = self.state.totals.upstreams.keys()
        return bool(waiting if self._handing is None else waiting - self._replay.failing)

    async def end(self, *, prints: bool, until: float) -> None:
        """Stop replay, hand over waiting events, log what is left of each stream, and close the file.

        `prints`: also print what is left. `until`: the deadline of the hand-over, in the loop's time; 0 to hand over
        nothing.
        """
        running, *others = self._tasks
        self._replay.stop()
        if self._handing:
            self._handing.stop()
        await asyncio.wait(others, timeout=END_SECONDS)
        for each in others:
            each.cancel()
        if self._handing:
            if until:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(
                        max(until, asyncio.get_running_loop().time() + LEAST_HAND_OVER_SECONDS)
                    ):
                        await self._handing.rest()
            self._handing.close()
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
                async for count in written(self._spool, sys.stdout.buffer.write):
                    printed = count
                    if clock() > ends:
                        break
        return printed


async def written(spool: Spool, write: Callable[[bytes], object]) -> AsyncIterator[int]:
    """Write all waiting events as lines of JSON, in the disk's thread; yield the number written so far.

    It stops if the spool cannot be used.
    """
    first = count = 0
    while True:
        try:
            events, last = await spool.read(_write_from(first, write))
        except Trouble:
            return
        if not last:
            return
        first, count = last + 1, count + events
        yield count


def _write_from(first: int, write: Callable[[bytes], object]) -> Callable[[SpoolFile], tuple[int, int]]:
    def page(file: SpoolFile) -> tuple[int, int]:
        """Write some events, but no damaged ones; return how many, and the number of the last."""
        rows = count = size = last = 0
        for event, sound in file.waiting(first):
            if sound:
                write(line_of(event))
            rows, count, size, last = rows + 1, count + sound, size + event.size, event.arrival
            if size >= PAGE_BYTES or rows == PAGE_ROWS:
                break
        return count, last

    return page
