"""An event loop with virtual time, and processes in it that can be paused and killed.

Time passes only if nothing is ready. Callbacks due at the same moment run in a random order; those of `call_soon` keep
their order, as asyncio promises. Every callback belongs to the process in whose context it was created. The callbacks
of a paused process are kept, those of a dead process never run.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulation.clocks import CLOCKS

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
"""The process whose code runs; None is the world itself."""

LOOK_SECONDS = 0.2


class Stuck(Exception):
    """A simulation does not end."""


class Process:
    """One life of a sidecar, as the kernel sees it."""

    def __init__(self, name: str) -> None:
        """It has just been executed."""
        self.name = name
        self.alive = True
        self.still = False
        """Whether it is paused."""
        self.signals: dict[int, Callable[[], object]] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        """All its coroutines, kept: a dropped one would run its `finally`, and a dead process does nothing."""
        self.kept: list[Handle] = []
        """Due callbacks that wait for processor time."""
        self.work: Counter[int] = Counter()
        """Number of callbacks that it ran in each second."""
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        """Return its name."""
        return self.name


class SimFuture(asyncio.Future[Any]):
    """A future whose order in a set does not depend on its memory address."""

    _number = 0

    def __hash__(self) -> int:
        """Return its number."""
        return self._number


class SimTask(asyncio.Task[Any]):
    """A task with the same property."""

    _number = 0

    def __hash__(self) -> int:
        """Return its number."""
        return self._number


class Handle(asyncio.TimerHandle):
    """A callback with its process and its kind."""

    __slots__ = ("kind", "process")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: SimLoop,
        context: contextvars.Context | None,
    ) -> None:
        """It is of the process whose context it has."""
        super().__init__(when, callback, args, loop, context)
        self.kind = "soon"
        self.process: Process | None = self._context.get(PROCESS)  # type: ignore[attr-defined]


_AFTER_STANDING_STILL = ("soon", "timer", "io")
"""The order in which uvloop runs due callbacks: timers come before sockets."""


class SimLoop(asyncio.BaseEventLoop):
    """The loop of the whole world."""

    def __init__(self, seed: str, network: Any) -> None:
        """`network` makes connections; see `network`."""
        super().__init__()
        self.network = network
        self._line: deque[Handle] = deque()
        self._heap: list[tuple[float, float, int, Handle]] = []
        self._numbers = itertools.count(1)
        self._chance = random.Random(f"{seed}/order")
        self.look: Callable[[], object] = lambda: None
        """Called between callbacks, every `LOOK_SECONDS` or when time jumps further; changes nothing."""
        self._next_look = 0.0
        self.errors: list[tuple[Process | None, dict[str, Any]]] = []
        """Uncaught exceptions."""
        self.set_task_factory(_make_task)  # type: ignore[arg-type]
        self.set_exception_handler(self._note_error)

    def _note_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append((PROCESS.get(), context))

    # --- what asyncio asks of a loop ---

    def time(self) -> float:
        """Return the seconds of the monotonic clock."""
        return CLOCKS.monotonic()

    def create_future(self) -> SimFuture:
        """Return a future."""
        future = SimFuture(loop=self)
        future._number = next(self._numbers)
        return future

    def next_number(self) -> int:
        """Return a new number."""
        return next(self._numbers)

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:  # type: ignore[override]
        """Append a callback to the queue."""
        handle = Handle(self.time(), callback, args, self, context)
        self._line.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:  # type: ignore[override]
        """Do the same; there are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:  # type: ignore[override]
        """Run a callback after some seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:  # type: ignore[override]
        """Run a callback at a time."""
        return self._plan(Handle(when, callback, args, self, context), "timer")

    def happens(self, after: float, process: Process | None, callback: Callable[..., object], *args: Any) -> Handle:
        """Deliver something from outside to a process after some seconds, such as bytes."""
        context = process.context if process is not None else _WORLD
        return self._plan(Handle(self.time() + max(0.0, after), callback, args, self, context), "io")

    def _plan(self, handle: Handle, kind: str) -> Handle:
        handle.kind = kind
        heapq.heappush(self._heap, (handle.when(), self._chance.random(), next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer is skipped when it is due."""

    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Run it soon, at a random moment, as a thread would."""
        process, done = PROCESS.get(), self.create_future()
        self.happens(self._chance.uniform(0.0001, 0.003), process, _do, done, func, args)
        return done

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        """Register a handler for a signal."""
        process = PROCESS.get()
        if process is not None:
            process.signals[sig] = lambda: self.call_soon(callback, *args, context=process.context)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler."""
        process = PROCESS.get()
        return process is not None and process.signals.pop(sig, None) is not None

    async def shutdown_default_executor(self, *_: Any) -> None:
        """There is none."""

    # --- how time passes ---

    def _run_once(self) -> None:
        if not self._line:
            self._advance()
        handle = self._line.popleft()
        if handle._cancelled:
            return
        process = handle.process
        if process is not None and not process.alive:
            return
        if process is not None and process.still:
            process.kept.append(handle)
            return
        if process is not None:
            process.work[int(CLOCKS.now)] += 1
        handle._run()

    def _advance(self) -> None:
        """Advance the time until something is due, and queue everything that is due then."""
        while self._heap and self._heap[0][3]._cancelled:
            heapq.heappop(self._heap)
        if not self._heap:
            raise Stuck("nothing will ever happen any more")
        CLOCKS.now = max(CLOCKS.now, self._heap[0][0] - CLOCKS.monotonic() + CLOCKS.now)
        while self._heap and self._heap[0][0] <= self.time():
            self._line.append(heapq.heappop(self._heap)[3])
        if CLOCKS.now >= self._next_look:
            self._next_look = CLOCKS.now + LOOK_SECONDS
            self.look()

    def freeze(self, process: Process) -> None:
        """Pause a process."""
        process.still = True

    def thaw(self, process: Process) -> None:
        """Resume it; waiting callbacks run as in uvloop after a pause."""
        process.still = False
        kept, process.kept = process.kept, []
        kept.sort(key=lambda handle: _AFTER_STANDING_STILL.index(handle.kind))
        self._line.extend(kept)

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nothing waits in a system call."""

    def close(self) -> None:
        """Drop everything that is scheduled."""
        self._line.clear()
        self._heap.clear()
        super().close()

    # --- connections ---

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        """Connect over the simulated network."""
        return await self.network.open(protocol_factory, host, port, more.get("ssl"), more.get("server_hostname"))

    async def create_server(self, protocol_factory: Any, *_: Any, sock: Any = None, **__: Any) -> Any:
        """Listen on a simulated socket."""
        return self.network.listen(protocol_factory, sock)

    async def create_datagram_endpoint(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        """Send and receive datagrams over the simulated network."""
        return self.network.datagrams(protocol_factory)

    async def start_tls(self, transport: Any, _: Any, sslcontext: Any, **more: Any) -> Any:  # type: ignore[override]
        """Shake hands over the simulated network."""
        return await self.network.start_tls(transport, sslcontext, more.get("server_hostname"))


_WORLD = contextvars.copy_context()


def _do(done: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        result, error = func(*args), None
    except Exception as caught:  # noqa: BLE001  it is raised where it is awaited
        result, error = None, caught
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)


def _make_task(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], *, context: Any = None
) -> asyncio.Task[Any]:
    task = SimTask(coro, loop=loop, context=context)
    assert isinstance(loop, SimLoop)
    task._number = loop.next_number()
    process = (context or contextvars.copy_context()).get(PROCESS)
    if process is not None:
        process.tasks.append(task)
    return task
