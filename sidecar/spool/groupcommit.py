"""Group commit: operations that arrive during a commit share the next transaction, and so its fsync.

One thread touches the disk, and nothing else waits for it. The callbacks of a transaction run in the event loop, in
the order of the transactions.

While the disk is full, read-only or broken, commits fail and are retried once a second. Operations that must not be
lost are kept in memory until they can be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.spool.directory import SetAside, SpoolDir, Trouble
from sidecar.spool.file import SpoolFile
from sidecar.spool.record import Key, Totals
from sidecar.telemetry.contained import keep_running, unexpected
from sidecar.telemetry.happenings import (
    DeadLettersDropped,
    SpoolBroken,
    SpoolCommitted,
    SpoolMeasured,
    SpoolMigrated,
    SpoolOpened,
    SpoolSetAside,
)
from sidecar.telemetry.telemetry import Telemetry
from sidecar.timers import until_tick

LOOK_SECONDS = 1.0
"""How often to check for changes by other processes, and whether a failed disk works again."""
CLOSE_SECONDS = 2.0
MAX_COMMIT_BYTES = 8 * 1024 * 1024
"""Bytes of events in one transaction; a single event may be larger."""
MAX_LAZY_COMMITS = 100
"""Transactions without an fsync before one with it."""

STOPPING = "the sidecar is stopping"


class Hand(Protocol):
    """Runs blocking work, one piece after the other."""

    async def do(self, work: Callable[[], Any]) -> Any:
        """Run `work` and return its result."""

    def end(self) -> None:
        """Take no more work."""


class Writer:
    """The thread that touches the disk: a daemon, so that a hanging disk does not keep the process from exiting."""

    def __init__(self) -> None:
        """Start the thread."""
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="spool", daemon=True).start()

    async def do(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the thread."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def job() -> None:
            try:
                result, error = work(), None
            except Exception as caught:  # noqa: BLE001  raised where it is awaited
                result, error = None, caught
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_finish, done, result, error)

        self._jobs.put(job)
        return await done

    def end(self) -> None:
        """End the thread when its queue is empty."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _finish(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)


@dataclass(eq=False)
class Operation:
    """A part of the next transaction."""

    work: Callable[[SpoolFile], Any]
    after: Callable[[Any], None]
    """Called in the event loop with the result, once it is durable."""
    undone: Callable[[bool], None]
    """Called in the event loop if it failed; False: it may have been done nevertheless."""
    must: bool
    """It is retried until the disk takes it."""
    lazy: bool
    """It must survive the process but not a power loss, so it needs no fsync."""
    size: int
    """Bytes it holds in memory until then."""
    done: asyncio.Future[Any]
    closed: bool = False
    """Whether its transaction has begun, or it failed."""


@dataclass(frozen=True, slots=True)
class News:
    """The order keys of a file that was opened, or changed by another process."""

    file: SpoolFile
    keys: set[Key]
    newest: float | None
    """The newest time in an opened file; None if nothing waits, or if another process changed the file."""


class GroupCommit:
    """Runs operations on the spool's file, all waiting ones in one transaction."""

    def __init__(
        self,
        directory: SpoolDir,
        hand: Hand,
        telemetry: Telemetry,
        now: Callable[[], float],
        learn: Callable[[News], None],
    ) -> None:
        """`learn` gets the order keys when the file is opened or changed; `now` is the spool's clock."""
        self.trouble = "it is not open yet"
        """Why the spool cannot be used; empty if it can."""
        self.totals = Totals()
        """After the last transaction."""
        self.waiting_size = 0
        """Bytes of operations that are not durable yet."""
        self._directory = directory
        self._hand = hand
        self._telemetry = telemetry
        self._now = now
        self._learn = learn
        self._known: SpoolFile | None = None
        self._operations: deque[Operation] = deque()
        self._woken = asyncio.Event()
        self._lazy_commits = 0
        """Since the last fsync."""
        self._untidy = False
        """Whether the file has free pages."""
        self._closing = False
        self._ended = False

    @property
    def closing(self) -> bool:
        """Whether new events are refused."""
        return self._closing

    def add(
        self,
        work: Callable[[SpoolFile], Any],
        after: Callable[[Any], None] = lambda _: None,
        undone: Callable[[bool], None] = lambda _: None,
        *,
        must: bool = False,
        lazy: bool = False,
        size: int = 0,
    ) -> Operation:
        """Add `work` to the next transaction."""
        operation = Operation(work, after, undone, must, lazy, size, asyncio.get_running_loop().create_future())
        self.waiting_size += size
        if self._ended:
            self._fail([operation], STOPPING)
            return operation
        self._operations.append(operation)
        self._woken.set()
        return operation

    def extend(self, operation: Operation, size: int) -> bool:
        """Let an operation hold more bytes; return False if it has begun or would be too large."""
        if operation.closed or operation.size + size > MAX_COMMIT_BYTES:
            return False
        operation.size += size
        self.waiting_size += size
        return True

    def withdraw(self, operation: Operation) -> None:
        """Remove an operation, unless its transaction has begun."""
        operation.closed = True
        if operation in self._operations:
            self._operations.remove(operation)
            self.waiting_size -= operation.size
            operation.undone(True)

    def stuck(self, reason: str) -> None:
        """Consider the disk hanging until the current transaction ends."""
        if not self.trouble:
            self.trouble = reason
            self._known = None  # read the keys again afterwards, as after any failure
            self._telemetry.emit(SpoolBroken(str(self._directory.path), reason))

    def close(self) -> None:
        """Refuse new events; `run` returns when the rest is durable."""
        self._closing = True
        self._woken.set()

    async def run(self, look: Callable[[], None], opened: asyncio.Event) -> None:
        """Commit until `close` is called; `look` is called once a second for periodic work.

        `opened` is set after the first attempt to open the file.
        """
        try:
            await keep_running("spool", functools.partial(self._work, look, opened), self._telemetry.emit)
        finally:
            await self._end()

    async def _work(self, look: Callable[[], None], opened: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        next_look = clock()
        while not self._closing or (self._operations and not self.trouble):
            self._woken.clear()
            its_time = clock() >= next_look
            if its_time:
                next_look = clock() + until_tick(clock(), LOOK_SECONDS)
                self.safely(lambda: self._look(look))
            if its_time or (self._operations and not self.trouble):
                await self._commit()
            opened.set()
            if its_time and self._untidy and not self.trouble and not self.totals.events:
                await self._tidy()
            await self._wake(next_look - clock())

    def safely(self, call: Callable[[], object]) -> None:
        """Call it, and report a bug in it, so that nothing else is lost or left waiting."""
        try:
            call()
        except Exception as error:  # noqa: BLE001  see above
            self._telemetry.emit(unexpected("spool", error))

    def _look(self, look: Callable[[], None]) -> None:
        if self.trouble or self._lazy_commits:
            self.add(SpoolFile.prove_writable)
        if not self.trouble:
            look()

    async def _wake(self, seconds: float) -> None:
        if self._operations and not self.trouble:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _tidy(self) -> None:
        await self._do(self._directory.tidy)

    async def _do(self, work: Callable[[], object]) -> None:
        try:
            await self._hand.do(work)
        except Exception as error:  # noqa: BLE001  as in `_commit`
            self._telemetry.emit(unexpected("spool", error))

    async def _end(self) -> None:
        self._closing = self._ended = True
        self.trouble = self.trouble or STOPPING
        self._fail(self._operations, STOPPING)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._do(self._directory.close)
        self._hand.end()

    async def _commit(self) -> None:
        """Run the waiting operations in one transaction."""
        operations = self._next_operations()
        works = [self._news, *(each.work for each in operations), SpoolFile.totals, SpoolFile.has_unused]
        durable = not operations or not all(each.lazy for each in operations) or self._lazy_commits >= MAX_LAZY_COMMITS
        begun = time.perf_counter()
        try:
            news, *results, totals, unused = await self._hand.do(
                lambda: self._directory.commit(works, self._now(), durable=durable)
            )
        except Trouble as trouble:
            kept = [each for each in operations if each.must]
            self._has_trouble(str(trouble), [each for each in operations if not each.must])
            self._operations.extendleft(reversed(kept))
        except asyncio.CancelledError:
            self._has_trouble(STOPPING, operations)
            raise
        except Exception as error:  # noqa: BLE001  a bug must not end the task group
            self._telemetry.emit(unexpected("spool", error))
            self._has_trouble("the sidecar had an internal error; its log has more", operations)
        else:
            if news is not None:
                self.safely(lambda: self._take_note(news))
            self.safely(self._tell_what_was_found)
            self.safely(lambda: self._is_well(totals))
            self._untidy = unused
            self._lazy_commits = 0 if durable else self._lazy_commits + 1
            self._finish(operations, results)
            self._telemetry.emit(SpoolCommitted(len(operations), time.perf_counter() - begun))

    def _take_note(self, news: News) -> None:
        self._learn(news)
        self._known = news.file

    def _next_operations(self) -> list[Operation]:
        """Take the first operations, limited in bytes, since a transaction must fit into the write-ahead log."""
        operations: list[Operation] = []
        size = 0
        while self._operations and (not operations or size + self._operations[0].size <= MAX_COMMIT_BYTES):
            operations.append(self._operations.popleft())
            operations[-1].closed = True
            size += operations[-1].size
        return operations

    def _news(self, file: SpoolFile) -> News | None:
        edited, known = file.edited(), file is self._known
        if edited or not known:  # the newest time takes a scan of all rows, so only once
            return News(file, file.keys(), None if known else file.newest())
        return None

    def _finish(self, operations: Sequence[Operation], results: Sequence[Any]) -> None:
        for operation, result in zip(operations, results, strict=True):
            self.waiting_size -= operation.size
            self.safely(functools.partial(operation.after, result))
            _finish(operation.done, result, None)

    def _is_well(self, totals: Totals) -> None:
        self.totals = totals
        if totals.dropped:
            self._telemetry.emit(DeadLettersDropped(totals.dropped))
        if self.trouble:
            self.trouble = ""
            self._telemetry.emit(SpoolOpened(str(self._directory.path), totals.events, totals.dead))
        age = 0.0 if totals.oldest is None else max(0.0, self._now() - totals.oldest)
        self._telemetry.emit(SpoolMeasured(totals.events, totals.size + totals.dead_size, totals.dead, age))

    def _has_trouble(self, reason: str, failed: Sequence[Operation]) -> None:
        self._tell_what_was_found()
        self._known = None
        self.trouble = reason
        self._telemetry.emit(SpoolBroken(str(self._directory.path), reason))
        self._fail(failed, reason, certain=False)

    def _fail(self, operations: Iterable[Operation], reason: str, *, certain: bool = True) -> None:
        for each in operations:
            each.closed = True
            self.waiting_size -= each.size
            self.safely(functools.partial(each.undone, certain))
            _finish(each.done, None, Trouble(reason))
            if not each.done.cancelled():
                each.done.exception()  # marks it as retrieved, since it may not be awaited

    def _tell_what_was_found(self) -> None:
        for found in self._directory.found():
            path = str(self._directory.path)
            if isinstance(found, SetAside):
                self._telemetry.emit(SpoolSetAside(path, found.name, found.reason, found.saved))
            else:
                self._telemetry.emit(SpoolMigrated(path, found.before, found.after))
