"""Promises of `writer`: a stuck reader of the log costs only lines."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from sidecar.telemetry.writer import MAX_WAITING_BYTES, LineWriter
from tests.fakes import PATIENCE

LINE = "x" * 1023 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: its reading and its writing end."""
    reader, writer = os.pipe()
    yield reader, writer
    for each in (reader, writer):
        os.close(each)


def read(reader: int, size: int) -> bytes:
    """Read exactly this number of bytes."""
    found = b""
    while len(found) < size:
        found += os.read(reader, size - len(found))
    return found


def test_lines_are_written_in_their_order(pipe: tuple[int, int]) -> None:
    """Each complete, whatever its characters."""
    writer = LineWriter(pipe[1])
    writer.write("first\n")
    writer.write("zw\u00f6lf\ud800\n")
    assert writer.drain(PATIENCE)
    assert os.read(pipe[0], 100) == "first\nzwölf\\ud800\n".encode()


def test_a_stuck_reader_is_not_waited_for(pipe: tuple[int, int]) -> None:
    """What does not fit is dropped and counted; the number is logged once the pipe flows again."""
    told: list[int] = []
    flows = threading.Event()

    def flows_again(lines: int) -> None:
        told.append(lines)
        flows.set()

    writer = LineWriter(pipe[1], flows_again)
    lines = 4 * MAX_WAITING_BYTES // len(LINE)
    for _ in range(lines):
        writer.write(LINE)
    assert writer.dropped > 0
    assert not writer.drain(0.0)
    read(pipe[0], (lines - writer.dropped) * len(LINE))
    assert flows.wait(PATIENCE)
    assert writer.drain(PATIENCE)
    assert sum(told) == writer.dropped


def test_a_reader_that_is_gone_costs_only_lines() -> None:
    """The code that logs gets no error."""
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    writer = LineWriter(writing_end)
    writer.write("nobody reads this\n")
    assert writer.drain(PATIENCE)
    assert writer.dropped == 1
    os.close(writing_end)
    assert not writer.isatty()
