"""Promises of `contained`: an exception in one task ends no other task."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.telemetry.contained import keep_running, unexpected
from sidecar.telemetry.happenings import Happening, Unexpected

pytestmark = pytest.mark.looptime


async def test_a_failed_task_is_reported_and_restarted() -> None:
    """It restarts after a pause, as often as it fails, until it returns."""
    loop, begun, told = asyncio.get_running_loop(), list[float](), list[Happening]()

    async def run() -> None:
        begun.append(loop.time())
        if len(begun) < 3:
            raise ValueError("label too long")

    began = loop.time()
    await keep_running("monitor", run, told.append, pause=2.0)
    assert [at - began for at in begun] == pytest.approx([0, 2, 4])
    assert told == [Unexpected("monitor", "ValueError: label too long")] * 2


async def test_cancellation_ends_it() -> None:
    """Cancellation is not a failure, and nothing is reported."""
    told: list[Happening] = []

    async def run() -> None:
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await keep_running("monitor", run, told.append)
    assert told == []


def test_the_first_of_several_errors_is_reported() -> None:
    """A task group raises all errors in it."""
    group = ExceptionGroup("two", [ExceptionGroup("one", [KeyError("a")]), ValueError("b")])
    assert unexpected("monitor", group) == Unexpected("monitor", "KeyError: 'a'")
