"""Writes log lines to a file descriptor that may block, such as a pipe that is not read.

A thread writes, so that nothing else waits. Lines that do not fit into its queue are dropped and counted.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable

MAX_WAITING_BYTES = 1024 * 1024
"""Size of the queue."""
END_SECONDS = 1.0
"""How long the process waits at exit for the queue to empty."""


class LineWriter:
    """A text stream that takes lines from any thread and writes them in a thread of its own."""

    def __init__(self, descriptor: int, flows_again: Callable[[int], None] = lambda _: None) -> None:
        """`flows_again` is called in the writer's thread, after a write succeeds, with the number of lines dropped."""
        self._descriptor = descriptor
        self._flows_again = flows_again
        self.dropped = 0
        """Lines, since the start."""
        self._told = 0
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def flush(self) -> None:
        """Do nothing: logging must not wait."""

    def write(self, text: str) -> None:
        """Queue `text`, one or more whole lines."""
        line = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._bytes + len(line) > MAX_WAITING_BYTES:
                self.dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.drain, END_SECONDS)
            self._changed.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until the queue is empty, at most `seconds`; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._bytes, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines.popleft()
            written = self._write(line)
            with self._changed:
                self._bytes -= len(line)
                self.dropped += not written
                untold = self.dropped - self._told if written else 0
                self._told += untold
                self._changed.notify_all()
            if untold:
                self._flows_again(untold)

    def _write(self, line: bytes) -> bool:
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError:  # closed, or the reader is gone
            return False
        return True
