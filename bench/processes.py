"""Processes: starting, waiting until they are ready, stopping, and what /proc says of them."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
START_SECONDS = 15.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.004
NOT_PASSED_ON = ("SIDECAR_", "PYTHONDONTWRITEBYTECODE")
"""Our own settings, and those that make each start recompile all modules: an image has their bytecode."""


class StartError(Exception):
    """A process did not become ready; the message ends with what it wrote."""


def free_port() -> int:
    """Find a port on 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Running:
    """A process and its children, from its start to its end."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid
        self.ready_seconds = 0.0

    @classmethod
    async def start(cls, command: Sequence[str], log: Path, port: int, ready_path: str | None = None) -> Running:
        """Start it, and wait until it accepts on `port`, or answers 200 to `ready_path` there."""
        clock = asyncio.get_running_loop().time
        environment = {key: value for key, value in os.environ.items() if not key.startswith(NOT_PASSED_ON)}
        with log.open("wb") as out:
            begun = clock()
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, env=environment
            )
        running = cls(process, log)
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _answers(port, ready_path):
                    if process.returncode is not None:
                        raise running._did_not_start(f"ended with {process.returncode}")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise running._did_not_start(f"was not ready after {START_SECONDS:.0f} s") from error
        else:
            running.ready_seconds = clock() - begun
            return running
        finally:
            if not running.ready_seconds:
                await running.stop()

    def cpu_seconds(self) -> float:
        """Sum the processor time of the process and its children, those that ended too."""
        return cpu_seconds(self.pid)

    def rss_mib(self) -> float:
        """Sum the resident memory of the process and its children."""
        pages = (int((PROC / str(pid) / "statm").read_text().split()[1]) for pid in family(self.pid))
        return sum(pages) * PAGE / 2**20

    async def stop(self) -> None:
        """End it, by force where it takes too long."""
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _did_not_start(self, why: str) -> StartError:
        return StartError(f"{why}: {self._log.read_text(errors='replace').strip()[-400:] or 'it wrote nothing'}")


async def _answers(port: int, path: str | None) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        if path is None:
            return True
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return (await reader.readline()).split()[1:2] == [b"200"]
    except OSError:
        return False
    finally:
        writer.close()


def cpu_seconds(pid: int) -> float:
    """Sum the processor time of a process and its children."""
    return sum(sum(ticks_in(_stat(each))) for each in family(pid)) / TICK


def ticks_in(stat: str) -> tuple[int, int, int, int]:
    """Read utime, stime and those of ended children from /proc/PID/stat, whose second field may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]), int(fields[12]), int(fields[13]), int(fields[14])


def family(pid: int) -> list[int]:
    """List a process and all that descend from it."""
    parents = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))):
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:  # it grows while it is walked
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _stat(pid: int) -> str:
    try:
        return (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def busy_seconds() -> float:
    """Sum what all processors of the machine did since it started, for anybody."""
    user, nice, system, _idle, _iowait, irq, softirq = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:8]
    return sum(int(ticks) for ticks in (user, nice, system, irq, softirq)) / TICK


def ended_seconds() -> float:
    """Sum the processor time of our children that ended, wrk among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def listener(port: int) -> int | None:
    """Find the process of this machine that listens on a port, if we may see it."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if any(str(link.readlink()) in inodes for link in (folder / "fd").iterdir()):
                    return int(folder.name)
    return None
