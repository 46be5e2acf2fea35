"""The clocks of the standard library, moved by the simulation: replaced before anything else is imported.

The libraries below the sidecar (dnspython, uvicorn) read `time` themselves, and defaults such as `clock=time.monotonic`
are bound when a module is read. So a simulation is a process of its own, in which this module comes first.
"""

from __future__ import annotations

import os
import random
import time
import uuid

EPOCH = 1_790_000_000.0
"""What the wall clock says when a simulation begins."""

real_seconds = time.perf_counter
"""The clock of this machine, for what asks how long a simulation takes."""


class Clocks:
    """What time it is in the world; a process that simulates has one."""

    def __init__(self) -> None:
        """It is the beginning."""
        self.now = 0.0
        """Seconds since the beginning, as the monotonic clock says."""
        self.step = 0.0
        """How far the wall clock is from where it would be."""
        self._random = random.Random(0)

    def begin(self, seed: str) -> None:
        """Begin anew, with chance of this seed."""
        self.now = self.step = 0.0
        random.seed(seed)
        self._random = random.Random(f"{seed}/ids")

    def monotonic(self) -> float:
        """Return what `time.monotonic` does."""
        return 1000.0 + self.now

    def wall(self) -> float:
        """Return what `time.time` does."""
        return EPOCH + self.now + self.step

    def urandom(self, size: int) -> bytes:
        """Return what `os.urandom` does: an identifier that is made of it is the same for the same seed."""
        return self._random.randbytes(size)

    def new_id(self) -> uuid.UUID:
        """Return what `uuid.uuid4` does."""
        return uuid.UUID(bytes=self._random.randbytes(16), version=4)


CLOCKS = Clocks()


def take_over() -> None:
    """Let this process live in simulated time from now on."""
    time.monotonic = time.perf_counter = CLOCKS.monotonic
    time.monotonic_ns = time.perf_counter_ns = lambda: int(CLOCKS.monotonic() * 1e9)
    time.time = CLOCKS.wall
    time.time_ns = lambda: int(CLOCKS.wall() * 1e9)
    uuid.uuid4 = CLOCKS.new_id
    os.urandom = CLOCKS.urandom
    os.getpid = lambda: 4242
