"""Where the lines of the log go: a file descriptor that may be stuck, as a pipe is that nobody reads.

A thread of its own writes them, so that nothing else waits. What does not fit into what waits is dropped and counted.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable

MAX_WAITING_BYTES = 1024 * 1024
"""Of lines that wait to be written."""
END_SECONDS = 1.0
"""How long the end of the process waits for what is still to be written."""


class LineWriter:
    """Takes lines from any thread, and writes each with as few calls as the system allows."""

    def __init__(self, descriptor: int, flows_again: Callable[[int], None] = lambda _: None) -> None:
        """`flows_again` is told, in the writer's thread, how many lines were dropped, once one is written again."""
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
        """Whether people read along."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def flush(self) -> None:
        """Do nothing: whoever logs does not wait."""

    def write(self, text: str) -> None:
        """Let `text`, one or more whole lines, be written."""
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
        """Wait until everything is written, for `seconds` at most; return whether it is."""
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
        except OSError:  # closed, or whoever read it is gone
            return False
        return True
