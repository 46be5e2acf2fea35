"""Group commit with a failing disk: it refuses no longer than the failure lasts, and nothing ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.spool.directory import FILE, Trouble
from sidecar.spool.file import SpoolFile
from sidecar.spool.groupcommit import LOOK_SECONDS
from sidecar.spool.record import Quota
from sidecar.spool.schema import VERSION
from sidecar.spool.store import MAX_WAITING_BYTES, PUT_SECONDS, Kept, PutResult
from tests.spool.spools import (
    NOON,
    SMALL,
    AtOnce,
    needs_root,
    old_file,
    open_spool,
    small_disk,
    spool_file,
    spooled,
    waiting,
)

pytestmark = pytest.mark.looptime


class Hand(AtOnce):
    """A disk that can be made to hang, to fail after that, or to fail certain jobs."""

    def __init__(self) -> None:
        """All is well."""
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.errors: list[Exception] = []
        self.fails_at = ""

    async def do(self, work: Callable[[], Any]) -> Any:
        """Do it, in time."""
        await asyncio.sleep(0.001)
        await self.goes_on.wait()
        if self.errors:
            raise self.errors.pop()
        if self.fails_at and getattr(work, "__name__", "") == self.fails_at:
            self.fails_at = ""
            raise ZeroDivisionError("a bug")
        return work()


@pytest.mark.parametrize("size", [1, MAX_WAITING_BYTES * 3 // 4], ids=["small", "large"])
async def test_withdrawn_events_affect_no_later_ones(tmp_path: Path, size: int) -> None:
    """Events that were refused because the disk hung take no room, and later ones are not added to their put."""
    hand = Hand()
    body = b"x" * size
    async with open_spool(tmp_path, hand=hand) as opened:
        hand.goes_on.clear()
        async with asyncio.TaskGroup() as tasks:
            puts = [tasks.create_task(opened.put([spooled(1)]))]
            await asyncio.sleep(0.1)  # its transaction has begun
            puts.append(tasks.create_task(opened.put([spooled(2, body=body)])))
        assert [put.result().kept for put in puts] == [Kept.BROKEN] * 2
        hand.goes_on.set()
        await asyncio.sleep(LOOK_SECONDS + 0.1)
        async with asyncio.timeout(5):
            assert (await opened.put([spooled(3, body=body)])).kept is Kept.STORED
    assert 2 not in waiting(tmp_path)


async def test_failed_events_take_no_room(tmp_path: Path) -> None:
    """Nor do events that the disk refused."""
    hand = Hand()
    large = b"x" * (MAX_WAITING_BYTES * 3 // 4)
    async with open_spool(tmp_path, hand=hand) as opened:
        hand.errors.append(Trouble("disk I/O error"))
        assert (await opened.put([spooled(1, body=large)])).kept is Kept.BROKEN
        await asyncio.sleep(LOOK_SECONDS + 0.1)
        assert (await opened.put([spooled(2, body=large)])).kept is Kept.STORED


async def test_an_error_after_the_timeout_is_harmless(tmp_path: Path) -> None:
    """The disk hangs until the put is refused, then fails, and works again."""
    hand = Hand()
    async with open_spool(tmp_path, hand=hand) as opened:
        hand.goes_on.clear()
        assert (await opened.put([spooled(1)])).kept is Kept.BROKEN
        hand.errors.append(ZeroDivisionError("a bug"))
        hand.goes_on.set()
        await asyncio.sleep(2 * LOOK_SECONDS)
        assert not opened.task.done()
        assert (await opened.put([spooled(2)])).kept is Kept.STORED
        assert opened.log("Unexpected") == [{"where": "spool", "error": "ZeroDivisionError: a bug"}]


async def test_an_error_while_shrinking_is_harmless(tmp_path: Path) -> None:
    """It is logged, and the spool goes on."""
    hand = Hand()
    async with open_spool(tmp_path, hand=hand) as opened:
        await opened.put([spooled(number, body=b"x" * 50_000) for number in range(1, 21)])
        hand.fails_at = "tidy"
        await opened.spool.delivered(await opened.spool.hand_out("main", 100, 10_000_000))
        await asyncio.sleep(3 * LOOK_SECONDS)
        assert opened.log("Unexpected") == [{"where": "spool", "error": "ZeroDivisionError: a bug"}]
        assert (await opened.put([spooled(30)])).kept is Kept.STORED


@needs_root
@pytest.mark.parametrize("read", [False, True], ids=["alone", "beside a reader"])
async def test_a_full_disk_is_full_until_something_can_be_written(tmp_path: Path, read: bool) -> None:
    """Opening and reading the file proves nothing: the failure ends with a successful write."""
    with small_disk(tmp_path / "disk") as disk, contextlib.ExitStack() as stack:
        async with open_spool(disk / "spool", SMALL, hand=AtOnce()) as opened:
            assert (await opened.put([spooled(1)])).kept is Kept.STORED
            first = await opened.spool.hand_out("main", 1, 1000)
            reader = stack.enter_context(contextlib.closing(sqlite3.connect(disk / "spool" / FILE)))
            reader.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # so that even a deletion needs room
            if not read:
                reader.close()
            (disk / "filler").write_bytes(b"x" * os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize)
            assert (await opened.put([spooled(10)])).kept is Kept.FULL
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(opened.spool.delivered(first))
                for number in range(5):
                    await asyncio.sleep(LOOK_SECONDS)
                    assert "disk is full" in opened.spool.state.trouble
                    assert (await opened.put([spooled(11 + number)])).kept is Kept.BROKEN
                assert [len(opened.log(action)) for action in ("SpoolBroken", "SpoolOpened")] == [1, 1]
                (disk / "filler").unlink()
            assert (await opened.put([spooled(20)])).kept is Kept.STORED
            assert opened.spool.state.totals.events == 1


@needs_root
async def test_a_spool_says_that_its_disk_is_too_small(tmp_path: Path) -> None:
    """In the answer and in the state, with what the disk has room for."""
    with small_disk(tmp_path / "disk", "3m") as disk:
        async with open_spool(disk, Quota(size=16 * 1024 * 1024), hand=AtOnce()) as opened:
            result = PutResult(Kept.STORED)
            while result.kept is Kept.STORED:
                result = await opened.put([spooled(0, body=b"x" * 100_000)])
            assert result.kept is Kept.FULL
            assert "the spool is full; it may take 16384 KiB of the disk, which only has 30" in result.reason
            assert opened.spool.state.full
            assert 3_000_000 < opened.spool.state.max_bytes < 3 * 1024 * 1024


async def test_the_spool_is_measured(tmp_path: Path) -> None:
    """Events, bytes and dead letters; its age is that of its oldest event, 0 if nothing waits."""
    async with open_spool(tmp_path, hand=AtOnce(), now=lambda: 1_800_000_100.0) as opened:
        await asyncio.sleep(LOOK_SECONDS + 0.1)
        assert opened.counted("oldest_seconds") == {"": 0.0}
        await opened.put([spooled(1)])
        assert opened.counted("oldest_seconds") == {"": 100.0}
        measured = [opened.counted(name)[""] for name in ("events", "bytes", "dead_letters")]
        assert measured == [1, spooled(1).size, 0]


async def test_contents_and_dropped_dead_letters_are_reported(tmp_path: Path) -> None:
    """Events and dead letters once the spool is open, then the dead letters that made room for events."""
    quota, event = Quota(size=2 * 1024 * 1024), spooled(0, body=b"x" * 10_000)
    with spool_file(tmp_path, quota) as file, file.transaction():
        while file.put([event]):
            pass
        for number in range(1, 91):
            file.bury(number, "invalid", b"", NOON)
        before = file.totals()
    async with open_spool(tmp_path, quota, hand=AtOnce()) as opened:
        (contents,) = opened.log("SpoolOpened")
        assert (contents["events"], contents["dead_letters"]) == (before.events, before.dead)
        for _ in range(5):
            assert (await opened.put([event])).kept is Kept.STORED
        assert opened.counted("dropped_dead_letters_total") == {"": before.dead - opened.spool.state.totals.dead}
        assert opened.spool.state.totals.dead < before.dead


async def test_a_hanging_disk_refuses_at_once_after_the_first(tmp_path: Path) -> None:
    """Only the first put waits for it."""
    hand = Hand()
    async with open_spool(tmp_path, hand=hand) as opened:
        hand.goes_on.clear()
        clock = asyncio.get_running_loop().time
        begun = clock()
        assert (await opened.put([spooled(1)])).kept is Kept.BROKEN
        assert clock() - begun == pytest.approx(PUT_SECONDS, abs=0.01)
        assert (await opened.put([spooled(2)])).kept is Kept.BROKEN
        assert clock() - begun == pytest.approx(PUT_SECONDS, abs=0.01)
        hand.goes_on.set()


async def test_old_events_are_buried_once_a_second(tmp_path: Path) -> None:
    """They become dead letters, and the others stay."""
    old = spooled(1, first_seen=NOON - 3600)
    async with open_spool(tmp_path, Quota(age=3000), hand=AtOnce()) as opened:
        await opened.put([old, spooled(2)])
        await asyncio.sleep(2 * LOOK_SECONDS)
        totals = opened.spool.state.totals
        assert (totals.events, totals.dead) == (1, 1)


async def test_transactions_are_timed(tmp_path: Path) -> None:
    """By duration, not by size."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        for number in range(50):
            await opened.put([spooled(number + 1)])
        assert opened.counted("commit_seconds_count")[""] >= 50
        assert opened.counted("commit_seconds_sum")[""] < 25


async def test_a_bug_in_a_callback_does_not_affect_others(tmp_path: Path) -> None:
    """Other callbacks run, all callers are told, and the spool goes on."""

    def bug(_: object) -> None:
        raise ZeroDivisionError("a bug")

    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1)])
        (event,) = await opened.spool.hand_out("main", 1, 1)
        its = opened.spool._commits.add(lambda _: 7, bug)
        await opened.spool.delivered([event])
        assert (await its.done, opened.spool.state.in_flight) == (7, 0)
        assert (await opened.put([spooled(2)])).kept is Kept.STORED
        assert opened.log("Unexpected") == [{"where": "spool", "error": "ZeroDivisionError: a bug"}]


async def test_an_operation_learns_whether_it_certainly_failed(tmp_path: Path) -> None:
    """What the disk refused may be on it nevertheless; what was withdrawn before, or came too late, is not."""
    hand, certain = Hand(), list[bool]()
    async with open_spool(tmp_path, hand=hand) as opened:
        commits = opened.spool._commits
        hand.errors.append(Trouble("disk I/O error"))
        with pytest.raises(Trouble, match="disk I/O error"):
            await commits.add(SpoolFile.totals, undone=certain.append).done
        commits.withdraw(commits.add(SpoolFile.totals, undone=certain.append))
        opened.spool.close()
        await asyncio.wait([opened.task])
        with pytest.raises(Trouble, match="the sidecar is stopping"):
            await commits.add(SpoolFile.totals, undone=certain.append).done
    assert (certain, commits.waiting_size, commits.trouble) == ([False, True, True], 0, "disk I/O error")


async def test_files_that_were_replaced_are_reported(tmp_path: Path) -> None:
    """One of an older version, and one that cannot be used."""
    old_file(tmp_path, 2)
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        (migrated,) = opened.log("SpoolMigrated")
        assert (migrated["before"], migrated["after"]) == (2, VERSION)
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        (aside,) = opened.log("SpoolSetAside")
        assert (tmp_path / aside["name"]).exists()


async def test_a_bug_in_a_transaction_leaves_no_event_in_flight(tmp_path: Path) -> None:
    """The results of its other operations are unknown, so the events are sent again."""

    def bug(_: object) -> None:
        raise ZeroDivisionError("a bug")

    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1)])
        (event,) = await opened.spool.hand_out("main", 1, 1)
        opened.spool._commits.add(bug)
        await opened.spool.delivered([event])
        assert (opened.spool.state.in_flight, opened.spool.state.trouble != "") == (0, True)
        await asyncio.sleep(1.1)
        assert await opened.spool.hand_out("main", 1, 1) == [event]
        opened.spool.release([event])
