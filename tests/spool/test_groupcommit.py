"""Promises of `groupcommit`: waiting operations share a transaction, and are acknowledged only when durable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.spool.directory import Trouble
from sidecar.spool.file import SpoolFile
from sidecar.spool.groupcommit import LOOK_SECONDS, MAX_COMMIT_BYTES, Writer
from sidecar.spool.store import Kept
from tests.spool.spools import NOON, AtOnce, arrivals, fill, open_spool, spool_file, spooled, waiting

looptime = pytest.mark.looptime


class Slow(AtOnce):
    """A hand that takes 0.2 s for everything, and counts."""

    def __init__(self) -> None:
        """Nothing was done."""
        self.done = 0

    async def do(self, work: Callable[[], Any]) -> Any:
        """Do it a fifth of a second later."""
        await asyncio.sleep(0.2)
        self.done += 1
        return work()


class Failing(AtOnce):
    """A hand that can be made to fail once."""

    def __init__(self) -> None:
        """All is well."""
        self.errors: list[Exception] = []

    async def do(self, work: Callable[[], Any]) -> Any:
        """Fail, or do it."""
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop()
        return work()


@looptime
async def test_waiting_operations_share_a_transaction(tmp_path: Path) -> None:
    """Ten puts during a commit take as long as one."""
    hand = Slow()
    async with open_spool(tmp_path, hand=hand) as opened, asyncio.TaskGroup() as tasks:
        before, clock = hand.done, asyncio.get_running_loop().time
        begun = clock()
        puts = [tasks.create_task(opened.put([spooled(number)])) for number in range(1, 12)]
        await asyncio.wait(puts)
        assert clock() - begun <= 1.5
        assert hand.done - before <= 3
    assert waiting(tmp_path) == list(range(1, 12))


@looptime
async def test_a_transaction_is_limited_in_bytes(tmp_path: Path) -> None:
    """It must fit into the write-ahead log, so three large events take three, whatever else waits."""
    hand, large = Slow(), b"x" * (MAX_COMMIT_BYTES * 2 // 3)
    async with open_spool(tmp_path, hand=hand) as opened, asyncio.TaskGroup() as tasks:
        before, clock = hand.done, asyncio.get_running_loop().time
        begun = clock()
        puts = [tasks.create_task(opened.put([spooled(number, body=large)])) for number in (1, 2, 3)]
        await asyncio.wait([*puts, tasks.create_task(opened.spool.read(SpoolFile.totals))])
        assert hand.done - before == 3
        assert clock() - begun == pytest.approx(0.6)
    assert waiting(tmp_path) == [1, 2, 3]


async def test_a_put_returns_only_after_the_commit(tmp_path: Path) -> None:
    """When a put returns, another process finds the event in the file."""
    async with open_spool(tmp_path) as opened:
        for number in range(1, 20):
            assert (await opened.put([spooled(number)])).kept is Kept.STORED
            assert waiting(tmp_path)[-1] == number


@looptime
async def test_a_bug_does_not_end_the_spool(tmp_path: Path) -> None:
    """It is logged, callers are told, and the next transaction works."""
    hand = Failing()
    async with open_spool(tmp_path, hand=hand) as opened:
        await asyncio.sleep(0.1)
        hand.errors.append(ZeroDivisionError("a bug"))
        assert (await opened.put([spooled(1)])).kept is Kept.BROKEN
        assert opened.log("Unexpected") == [{"where": "spool", "error": "ZeroDivisionError: a bug"}]
        await asyncio.sleep(LOOK_SECONDS + 0.1)
        assert (await opened.put([spooled(2)])).kept is Kept.STORED


@looptime
async def test_deliveries_are_recorded_when_the_disk_works_again(tmp_path: Path) -> None:
    """They are kept in memory meanwhile, and not handed out again."""
    (tmp_path / "spool").mkdir()
    async with open_spool(tmp_path / "spool", hand=AtOnce()) as opened, asyncio.TaskGroup() as tasks:
        await opened.put([spooled(1), spooled(2)])
        batch = await opened.spool.hand_out("main", 1, 10**6)
        (tmp_path / "spool").rename(tmp_path / "away")
        (tmp_path / "spool").write_text("in the way")
        delivered = tasks.create_task(opened.spool.delivered(batch))
        await asyncio.sleep(5 * LOOK_SECONDS)
        assert not delivered.done()
        assert await opened.spool.hand_out("main", 9, 10**6) == []
        (tmp_path / "spool").unlink()
        (tmp_path / "away").rename(tmp_path / "spool")
        await delivered
        assert arrivals(await opened.spool.hand_out("main", 9, 10**6)) == [2]
    assert waiting(tmp_path / "spool") == [2]


@looptime
async def test_the_disk_is_retried_every_second_until_it_works(tmp_path: Path) -> None:
    """The disk is checked once a second; start and end of the failure are reported."""
    folder = tmp_path / "spool"
    folder.write_text("in the way")
    async with open_spool(folder, hand=AtOnce()) as opened:
        put = await opened.put([spooled(1)])
        assert (put.kept, put.reason) == (Kept.BROKEN, f"{folder}: Not a directory")
        assert opened.counted("usable") == {f'directory="{folder}"': 0.0}
        folder.unlink()
        await asyncio.sleep(LOOK_SECONDS + 0.1)
        assert (await opened.put([spooled(1)])).kept is Kept.STORED
        assert opened.counted("usable") == {f'directory="{folder}"': 1.0}
        assert [len(opened.log(action)) for action in ("SpoolBroken", "SpoolOpened", "SpoolRefused")] == [1, 1, 1]


@looptime
async def test_close_makes_everything_durable(tmp_path: Path) -> None:
    """Later operations are refused, and the end waits only for the disk."""
    clock = asyncio.get_running_loop().time
    async with open_spool(tmp_path, hand=Slow()) as opened, asyncio.TaskGroup() as tasks:
        puts = [tasks.create_task(opened.put([spooled(number)])) for number in (1, 2, 3)]
        await asyncio.sleep(0.1)  # until they are being written
        opened.spool.close()
        late = await opened.put([spooled(4)])
        assert (late.kept, late.reason) == (Kept.BROKEN, "the sidecar is stopping")
        await asyncio.wait(puts)
        assert {task.result().kept for task in puts} == {Kept.STORED}
        written = clock()
        await asyncio.wait([opened.task])
        assert clock() - written == pytest.approx(0.2)  # to close the file
    assert waiting(tmp_path) == [1, 2, 3]


async def test_after_the_end_nobody_waits(tmp_path: Path) -> None:
    """What comes too late is refused at once."""
    async with open_spool(tmp_path) as opened:
        await opened.put([spooled(1)])
        events = await opened.spool.hand_out("main", 1, 10**6)
        opened.spool.close()
        await asyncio.wait([opened.task])
        async with asyncio.timeout(5):
            await opened.spool.delivered(events)
            with pytest.raises(Trouble, match="the sidecar is stopping"):
                await opened.spool.read(SpoolFile.totals)
        assert opened.spool.state.in_flight == 0
    assert waiting(tmp_path) == [1]


async def test_cancellation_leaves_no_caller_waiting(tmp_path: Path) -> None:
    """It fails waiting operations, and unlocks the directory."""
    async with open_spool(tmp_path) as opened, asyncio.TaskGroup() as tasks:
        puts = [tasks.create_task(opened.put([spooled(number)])) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        opened.task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([*puts, opened.task])
        assert {task.result().kept for task in puts} <= {Kept.STORED, Kept.BROKEN}
    async with open_spool(tmp_path) as again:
        assert again.spool.state.trouble == ""


class Counting(AtOnce):
    """A hand that counts its jobs, and knows whether it was ended."""

    def __init__(self) -> None:
        """Nothing was done."""
        self.done = 0
        self.ended = False

    async def do(self, work: Callable[[], Any]) -> Any:
        """Do it at once."""
        self.done += 1
        return await super().do(work)

    def end(self) -> None:
        """Take no more work."""
        self.ended = True


@looptime
async def test_an_emptied_file_is_shrunk_and_then_left_alone(tmp_path: Path) -> None:
    """Within a second after the last event; from then on it is only checked once a second. The thread ends, too."""
    hand = Counting()
    async with open_spool(tmp_path, hand=hand) as opened:
        await opened.put([spooled(number, body=b"x" * 50_000) for number in range(1, 21)])
        await opened.spool.delivered(await opened.spool.hand_out("main", 100, 10_000_000))
        await asyncio.sleep(3 * LOOK_SECONDS)
        before = hand.done
        await asyncio.sleep(10 * LOOK_SECONDS)
        assert (hand.done - before, hand.ended) == (10, False)
    assert hand.ended
    with spool_file(tmp_path) as file:
        assert not file.has_unused()


@looptime
async def test_only_lazy_operations_do_without_an_fsync(tmp_path: Path) -> None:
    """Unless something else is in their transaction, and for a hundred transactions."""

    def durability(file: SpoolFile) -> str:
        (found,) = file._connection.execute("PRAGMA synchronous").fetchone()
        return {1: "normal", 2: "full"}[found]

    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        add = opened.spool._commits.add
        together = [add(durability, lazy=True), add(durability)]
        assert [await each.done for each in together] == ["full", "full"]
        assert await add(durability).done == "full"
        assert [await add(durability, lazy=True).done for _ in range(101)] == ["normal"] * 100 + ["full"]


async def test_time_goes_on_after_the_newest_event_of_an_opened_file(tmp_path: Path) -> None:
    """Though the clock was set back; so the ages of events never shrink."""
    fill(tmp_path, spooled(1, first_seen=NOON + 50), spooled(2))
    async with open_spool(tmp_path) as opened:
        assert opened.spool.now() == NOON + 50


# --- the thread ---


async def test_work_runs_in_one_other_thread() -> None:
    """Results and exceptions are returned."""
    writer = Writer()
    threads = {await writer.do(threading.get_ident) for _ in range(5)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        await writer.do(lambda: 1 // 0)
    writer.end()


async def test_a_hanging_disk_does_not_keep_the_process_alive() -> None:
    """The thread is a daemon, and callers can stop waiting."""
    writer, released = Writer(), threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await writer.do(released.wait)
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "spool"] != [False]
    released.set()
    writer.end()
