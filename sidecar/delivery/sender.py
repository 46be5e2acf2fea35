"""Starts a `Journey` for each load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from sidecar.delivery.journey import Journey, Means, OnEnd
from sidecar.delivery.tries import Observer
from sidecar.events.outgoing import Load
from sidecar.telemetry.telemetry import Telemetry
from sidecar.upstreams.endpoints import FIRST_ROUND_SECONDS, Pool


class Sender:
    """Sends loads to the endpoints of their upstream."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        telemetry: Telemetry,
        jitter: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        *,
        reserve: float = 0.0,
        observer: Observer | None = None,
    ) -> None:
        """`pools` are filled by `monitor`; `jitter` returns numbers from 0 to 1.

        `reserve`: seconds of each deadline kept free for the spool. `observer` traces the loads.
        """
        self._pools = pools
        self._reserve = reserve
        self._observer = observer
        self._means = Means(telemetry, jitter, clock)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Run connection attempts in `tasks` from now on; nothing is sent before."""
        self._means.tasks = tasks

    def replaced(self) -> None:
        """Begin no more attempts for loads of the spool: other routes are in force now."""
        self._means.replaced = True

    def send(self, load: Load, on_end: OnEnd, give_up: float | None = None, since: float | None = None) -> None:
        """Send `load` as one array; `on_end` is called once with the result, maybe before this returns.

        It ends by `give_up`, in seconds of the clock, or else within the upstream's deadline, counted from `since` or
        from now.
        """
        pool = self._pools[load.upstream]
        if give_up is None:
            begun = self._means.clock() if since is None else since
            give_up = begun + max(0.0, pool.config.timeouts.deadline - self._reserve)
        trace = None
        if self._observer is not None:
            load, trace = self._observer.begun(load)
        journey = Journey(pool, self._means, load, give_up, on_end, trace)
        if pool.looked_at.is_set() or self._means.tasks is None:
            journey.begin()
        else:
            self._means.tasks.create_task(_begin_after_first_round(pool, journey))


async def _begin_after_first_round(pool: Pool, journey: Journey) -> None:
    await pool.first_round(min(FIRST_ROUND_SECONDS, pool.config.timeouts.deadline))
    journey.begin()
