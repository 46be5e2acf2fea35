"""Starts the sidecar, samples it every second, stops or kills it, and starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.longrun.records import Life, Sample, exposed
from tests.netns.lab import Lab
from tests.netns.network import LabError, Network, eventually, words_of

INTAKE, ADMIN = 8888, 9102
DRAIN_SECONDS = 3.0
"""How long it accepts events after SIGTERM. Kubernetes has to wait for it, so a model server's is longer."""
READY_SECONDS = 20.0
END_SECONDS = 25.0
SAMPLE_SECONDS = 1.0
LOOK_SECONDS = 3.0
LOOK_AGAIN_SECONDS = 0.2
ESTABLISHED, NOT_ACCEPTED = "01", "0"
"""A connection that is not accepted yet has no inode."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Lives:
    """One sidecar after the other in the pod, with the same spool, routes.yaml and last good configuration."""

    lab: Lab
    folder: Path
    lives: list[Life] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    _around: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _process: asyncio.subprocess.Process | None = None

    @property
    def routes(self) -> Path:
        """The routes.yaml that it reads."""
        return self.folder / "routes.yaml"

    @property
    def spool(self) -> Path:
        """The directory of its spool."""
        return self.folder / "spool"

    async def __aenter__(self) -> Lives:
        """No sidecar is started yet."""
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """End the running sidecar."""
        await self._around.aclose()

    async def start(self, *, wait_ready: bool = True) -> None:
        """Start the next one; return once it accepts connections, or is ready."""
        log = self.folder / f"sidecar-{len(self.lives) + 1}.log"
        words = ("--routes", str(self.routes), "--spool", str(self.spool), "--drain", f"{DRAIN_SECONDS:g}s")
        last_good = ("--last-good", str(self.folder / "last-good.yaml"))
        command = (sys.executable, "-m", "sidecar", "serve", *words, *last_good)
        began = _now()
        self._process = await self._around.enter_async_context(
            self.lab.network.running("pod", *command, log=log, talks=False)
        )
        life = Life(len(self.lives) + 1, log, self._process.pid, began)
        self.lives.append(life)
        path = "/readyz" if wait_ready else "/livez"
        process = self._process

        def ready() -> bool:
            return process.returncode is not None or _asked(self.lab.network, path)[0] == 200

        if not await eventually(ready, READY_SECONDS) or process.returncode is not None:
            state = "is there" if process.returncode is None else f"ended with status {process.returncode}"
            told = f"sidecar {life.number} is not ready after {_now() - began:.1f} s; it {state}"
            raise LabError(f"{told}: {words_of(log)[-2000:]}")
        life.listened = _now()

    async def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait until it ends."""
        assert self._process is not None
        life = self.lives[-1]
        life.signal, life.told = number.name, _now()
        self._process.send_signal(number)
        try:
            async with asyncio.timeout(END_SECONDS):
                life.status = await self._process.wait()
        except TimeoutError:
            raise LabError(f"sent {number.name}, the sidecar is still there after {END_SECONDS:g} s") from None
        life.ended = _now()
        self._process = None

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal that does not end it, if it is running."""
        if self._process is not None:
            self._process.send_signal(number)

    async def watch(self) -> None:
        """Take a sample every second until cancelled."""
        due = _now()
        while True:
            if self._process is not None:
                clock = asyncio.get_running_loop().time
                sample = await asyncio.to_thread(self._sample, self.lives[-1], clock)
                if sample is not None:
                    self.samples.append(sample)
            due = max(due + SAMPLE_SECONDS, _now())
            await asyncio.sleep(due - _now())

    def _sample(self, life: Life, clock: Callable[[], float]) -> Sample | None:
        began = clock()
        try:
            memory, processor = resident(life.pid), processor_of(life.pid)
            files = sum(1 for _ in Path(f"/proc/{life.pid}/fd").iterdir())
            producers = connections_of(life.pid)
        except OSError:
            return None  # it ended just now
        metrics = exposed(_asked(self.lab.network, "/metrics")[1].decode())
        return Sample(life.number, began, clock(), memory, files - producers, producers, processor, metrics)

    async def until_the_spool_is_empty(self, seconds: float) -> float:
        """Return how many events still wait at the deadline, or 0 once none does."""
        until, waits = _now() + seconds, -1.0
        while waits != 0 and _now() < until:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            metrics = exposed((await asyncio.to_thread(_asked, self.lab.network, "/metrics"))[1].decode())
            waits = metrics.get("eventgate_sidecar_spool_events", waits)
        return waits


def resident(pid: int) -> int:
    """Return how many bytes of memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def connections_of(pid: int) -> int:
    """Return the number of producers' connections that this process has accepted and neither side has closed."""
    rows = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    ours = (row for row in rows if row[1].endswith(f":{INTAKE:04X}"))
    return sum(row[3] == ESTABLISHED and row[9] != NOT_ACCEPTED for row in ours)


def processor_of(pid: int) -> float:
    """Return the processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rewrite(path: Path, text: str) -> None:
    """Replace a file atomically, as Kubernetes does."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _asked(network: Network, path: str) -> tuple[int, bytes]:
    """Query the cluster's listener; status 0 means no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", ADMIN)
    with contextlib.closing(connection), network.socket_on("pod") as line:
        line.settimeout(LOOK_SECONDS)
        connection.sock = line
        try:
            line.connect(("127.0.0.1", ADMIN))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
