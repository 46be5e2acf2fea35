"""Sends the spool again, beside live traffic and behind it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal

from sidecar.events.results import EventStatus
from sidecar.spool.policy import MAX_BYTES, MAX_REST_SECONDS, Fate, Window, backoff, due, fate, reason
from sidecar.spool.record import Spooled
from sidecar.spool.store import Spool
from sidecar.telemetry.contained import keep_running
from sidecar.telemetry.happenings import Replayed, Unexpected
from sidecar.telemetry.telemetry import Telemetry

Send = Callable[[str, Sequence[Spooled]], Awaitable[Sequence[EventStatus]]]
"""Sends events to an upstream; returns their statuses, in their order."""

Way = tuple[Send, Callable[[str], bool]]
"""How events are sent to an upstream, and whether its live traffic has to wait already."""

IDLE_SECONDS = 1.0
"""How long to wait where events wait, and none of them may be sent yet."""
REST_SECONDS = 0.02
"""How often it looks whether live traffic is still pressing."""


class Replay:
    """Keeps sending whatever is in the spool until nothing is."""

    def __init__(
        self,
        spool: Spool,
        telemetry: Telemetry,
        jitter: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` is the wall clock; what is sent where is said by `follow`."""
        self._spool = spool
        self._ways: Mapping[str, Way] = {}
        self._group: asyncio.TaskGroup | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._telemetry = telemetry
        self._jitter = jitter
        self._now = now
        self._healed: dict[str, asyncio.Event] = {}
        self._last_success: dict[str, float] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Send what waits for the upstreams, until `stop` is called and what is under way has ended."""
        await self._spool.opened()
        async with asyncio.TaskGroup() as self._group:
            self._begin_and_end()

    def follow(self, upstreams: Iterable[str], send: Send, pressing: Callable[[str], bool]) -> None:
        """Send what waits for these upstreams from now on, and for no others, by `send`.

        `pressing` says whether live traffic for an upstream has to wait already.
        """
        self._ways = dict.fromkeys(upstreams, (send, pressing))
        if self._group is not None and not self._stopping.is_set():
            self._begin_and_end()

    def _begin_and_end(self) -> None:
        """Replay for each upstream there is, and for none that there is no more."""
        for upstream in self._ways.keys() - self._running.keys():
            if self._group is not None:
                self._running[upstream] = self._group.create_task(
                    keep_running("replay", functools.partial(self._replay, upstream), self._telemetry.emit)
                )
        for upstream in self._running.keys() - self._ways.keys():
            self._running.pop(upstream).cancel()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()
        for healed in self._healed.values():
            healed.set()

    def healed(self, upstream: str) -> None:
        """Try again at once: an endpoint of `upstream` takes events again."""
        self._healing(upstream).set()

    def _healing(self, upstream: str) -> asyncio.Event:
        return self._healed.setdefault(upstream, asyncio.Event())

    async def _replay(self, upstream: str) -> None:
        window = Window()
        while await self._something_for(upstream):
            await self._let_live_go_first(upstream)
            batches = await self._next_batches(upstream, window)
            if not batches:
                await self._pause(upstream, IDLE_SECONDS)
                continue
            ended = await asyncio.gather(*(self._send_batch(upstream, batch) for batch in batches))
            window = window.after_success() if any(ended) else window.after_failure()
            if window.failures:
                await self._pause(upstream, backoff(window.failures, self._jitter()))

    async def _something_for(self, upstream: str) -> bool:
        """Return True once something waits, False once there is no time for it any more."""
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(self._spool.something_for(upstream))
            stopping = tasks.create_task(self._stopping.wait())
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            stopping.cancel()
        return not self._stopping.is_set()

    async def _let_live_go_first(self, upstream: str) -> None:
        rested = 0.0
        while self._presses(upstream) and rested < MAX_REST_SECONDS and not self._stopping.is_set():
            await asyncio.sleep(REST_SECONDS)
            rested += REST_SECONDS

    def _presses(self, upstream: str) -> bool:
        _, pressing = self._ways[upstream]
        return pressing(upstream)

    async def _next_batches(self, upstream: str, window: Window) -> list[list[Spooled]]:
        batches = []
        for _ in range(window.batches):
            batch = [] if self._stopping.is_set() else await self._spool.hand_out(upstream, window.events, MAX_BYTES)
            if not batch:
                break
            batches.append(batch)
        return batches

    async def _pause(self, upstream: str, seconds: float) -> None:
        healed = self._healing(upstream)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if not self._stopping.is_set():
                    healed.clear()
                    await healed.wait()

    async def _send_batch(self, upstream: str, events: list[Spooled]) -> bool:
        """Send events and note what became of each; return whether any of them got a verdict."""
        try:
            send, _ = self._ways[upstream]
            ended = list(zip(events, await send(upstream, events), strict=True))
        except Exception as error:  # noqa: BLE001  a bug of ours must not end the task group, and with it everything
            self._telemetry.emit(Unexpected("replay", f"{type(error).__name__}: {error}"))
            self._spool.release(events)
            return False
        except asyncio.CancelledError:
            self._spool.release(events)
            raise
        return await self._note(upstream, ended)

    async def _note(self, upstream: str, ended: list[tuple[Spooled, EventStatus]]) -> bool:
        if any(status.status == "success" for _, status in ended):
            self._last_success[upstream] = self._now()
        last_success = self._last_success.get(upstream)
        fates = [fate(event, status, last_success) for event, status in ended]
        await asyncio.gather(
            self._spool.delivered(event for (event, _), its in zip(ended, fates, strict=True) if its is Fate.DELIVERED),
            *(
                self._keep_or_bury(event, status, its)
                for (event, status), its in zip(ended, fates, strict=True)
                if its is not Fate.DELIVERED
            ),
        )
        words = next((reason(status) for (_, status), its in zip(ended, fates, strict=True) if its is Fate.FAILED), "")
        for its, count in Counter(fates).items():
            self._telemetry.emit(Replayed(upstream, its.value, count, words if its is Fate.FAILED else ""))
        return any(its is not Fate.FAILED for its in fates)

    async def _keep_or_bury(self, event: Spooled, status: EventStatus, its: Fate) -> None:
        if its is Fate.DEAD:
            cause: Literal["invalid", "errors"] = "invalid" if status.status == "invalid" else "errors"
            await self._spool.dead(event, cause, reason(status), status.described)
        else:
            later = due(status, self._now())
            await self._spool.failed(event, reason(status), later, error=its is Fate.ERROR)
