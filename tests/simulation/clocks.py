"""The clocks of the standard library, replaced before anything else is imported.

The libraries below the sidecar (dnspython, uvicorn) read `time` themselves, and defaults such as `clock=time.monotonic`
are bound when a module is imported. So a simulation is a separate process, which imports this module first.
"""

from __future__ import annotations

import os
import random
import time
import uuid

EPOCH = 1_790_000_000.0
"""The wall clock at the beginning of a simulation."""

real_seconds = time.perf_counter
"""The real clock, to measure how long a simulation takes."""


class Clocks:
    """The time in the world; a simulating process has one."""

    def __init__(self) -> None:
        """Start at the beginning."""
        self.now = 0.0
        """The monotonic clock: seconds since the beginning."""
        self.step = 0.0
        """Seconds by which the wall clock is off."""
        self._random = random.Random(0)

    def begin(self, seed: str) -> None:
        """Start again, with random numbers from this seed."""
        self.now = self.step = 0.0
        random.seed(seed)
        self._random = random.Random(f"{seed}/ids")

    def monotonic(self) -> float:
        """Stand in for `time.monotonic`."""
        return 1000.0 + self.now

    def wall(self) -> float:
        """Stand in for `time.time`."""
        return EPOCH + self.now + self.step

    def urandom(self, size: int) -> bytes:
        """Stand in for `os.urandom`, so that identifiers are the same for the same seed."""
        return self._random.randbytes(size)

    def new_id(self) -> uuid.UUID:
        """Stand in for `uuid.uuid4`."""
        return uuid.UUID(bytes=self._random.randbytes(16), version=4)


CLOCKS = Clocks()


def take_over() -> None:
    """Use simulated time in this process from now on."""
    time.monotonic = time.perf_counter = CLOCKS.monotonic
    time.monotonic_ns = time.perf_counter_ns = lambda: int(CLOCKS.monotonic() * 1e9)
    time.time = CLOCKS.wall
    time.time_ns = lambda: int(CLOCKS.wall() * 1e9)
    uuid.uuid4 = CLOCKS.new_id
    os.urandom = CLOCKS.urandom
    os.getpid = lambda: 4242
