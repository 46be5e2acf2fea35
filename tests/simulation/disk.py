"""The spool's disk, and the thread that writes to it: in simulated time, but with the real SQLite."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.spool.directory import Trouble

if TYPE_CHECKING:
    import asyncio

    from tests.simulation.loop import Process, SimLoop

TROUBLE = {
    "full": "database or disk is full (SQLITE_FULL)",
    "broken": "disk I/O error (SQLITE_IOERR_WRITE)",
}


class Disk:
    """State of the disk."""

    def __init__(self, seed: str, size: int) -> None:
        """It works; a spool may have `size` bytes on it."""
        self.mode = "well"
        self.size = size
        self.hands: list[SimHand] = []
        self._chance = random.Random(f"{seed}/disk")

    def become(self, mode: str) -> None:
        """Change its state; hanging jobs continue."""
        self.mode = mode
        for hand in self.hands:
            hand.go_on()

    @property
    def hangs(self) -> bool:
        """Whether jobs hang."""
        return self.mode in ("hangs", "hangs late")

    def seconds(self) -> float:
        """Return how long a job takes."""
        if self.mode == "slow":
            return self._chance.uniform(0.05, 0.8)
        return self._chance.uniform(0.0005, 0.004)


class SimHand:
    """The spool's thread: runs one job after the other, each at its time."""

    def __init__(self, loop: SimLoop, process: Process, disk: Disk, do: Callable[[Callable[[], Any]], Any]) -> None:
        """`do` runs a job."""
        self._loop, self._process, self._disk, self._do = loop, process, disk, do
        self._jobs: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self.busy = False
        """Whether it runs a job."""
        self._stuck: Callable[[], None] | None = None
        disk.hands.append(self)

    async def do(self, work: Callable[[], Any]) -> Any:
        """Run it in the thread, and return its result."""
        done = self._loop.create_future()
        self._jobs.append((done, work))
        self._next()
        return await done

    def end(self) -> None:
        """Take no further jobs."""

    def go_on(self) -> None:
        """Continue after a hang of the disk."""
        stuck, self._stuck = self._stuck, None
        if stuck is not None:
            stuck()

    def _next(self) -> None:
        if self._jobs and not self.busy:
            self.busy = True
            self._loop.happens(self._disk.seconds(), self._process, self._run)

    def _run(self) -> None:
        if self._disk.mode == "hangs":
            self._stuck = lambda: self._wake(self._run)
            return
        done, work = self._jobs.popleft()
        result, error = self._result(work)
        if self._disk.mode == "hangs late":  # the row was written, but the caller is not told
            self._stuck = lambda: self._wake(lambda: self._finish(done, result, error))
            return
        self._finish(done, result, error)

    def _wake(self, step: Callable[[], None]) -> None:
        self._loop.happens(0.001, self._process, step)

    def _result(self, work: Callable[[], Any]) -> tuple[Any, Exception | None]:
        ends = getattr(work, "__name__", "") in ("close", "tidy")  # these never fail
        if (words := TROUBLE.get(self._disk.mode)) is not None and not ends:
            return None, Trouble(words)
        try:
            return self._do(work), None
        except Exception as error:  # noqa: BLE001  it is raised where it is awaited
            return None, error

    def _finish(self, done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        self.busy = False
        if not done.done():
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        self._next()
