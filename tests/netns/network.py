"""The hosts: a network namespace each, all on one bridge in another namespace.

The machine's own network is not changed: all interfaces, rules and routes are inside the namespaces. Their names
contain the process id of the run, so that a later run recognises leftovers and removes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType

PREFIX = "egw"
NETNS = Path("/run/netns")
TEMPORARY = Path(tempfile.gettempdir())
"""A run outside the tests has a folder here, named like its namespaces."""
ETC = Path("/etc/netns")
"""`ip netns exec` mounts a file in `ETC/<namespace>/` over the file of that name in /etc."""
SWITCH = "switch"
HOSTS = {
    "pod": ("198.18.0.2",),
    "dns": ("198.18.0.53",),
    "eqiad": ("198.18.1.11", "198.18.1.111"),  # the second is the relay's
    "eqiad2": ("198.18.1.12",),
    "codfw": ("198.18.2.21",),
}
"""Addresses from 198.18.0.0/15, which is reserved for testing networks (RFC 2544)."""
RESOLV_CONF = f"""\
nameserver {HOSTS["dns"][0]}
search revscoring-drafttopic.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"""
"""As Kubernetes writes it: a name with fewer than five dots is first tried with each suffix."""
COMMAND_SECONDS = 10.0
STOP_SECONDS = 8.0
POLL_SECONDS = 0.01

_setns = ctypes.CDLL(None, use_errno=True).setns


@contextlib.contextmanager
def folder_of_a_run(keep: Path | None) -> Iterator[Path]:
    """Make a folder for the files of a run outside the tests: `keep`, or one that is removed after the run."""
    if keep:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as folder:
        yield Path(folder)


class LabError(Exception):
    """The lab failed, so the result says nothing about the sidecar."""


async def command(*arguments: str) -> str:
    """Run a short command; return what it wrote.

    Raises:
        LabError: it failed; the message has its output.

    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise LabError(f"{' '.join(arguments)}: not done after {COMMAND_SECONDS:g} s") from None
    if process.returncode:
        raise LabError(f"{' '.join(arguments)}: {err.decode(errors='replace').strip()}")
    return out.decode()


async def eventually(true: Callable[[], bool], seconds: float) -> bool:
    """Poll until it is true; return whether that was in time."""
    try:
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - files and other processes set no Event
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        return False
    return True


def words_of(log: Path) -> str:
    """Return the output of a program."""
    return log.read_text(errors="replace").strip()


class Network:
    """All hosts; an asynchronous context that always removes them at the end."""

    def namespace(self, host: str) -> str:
        """Return the name of a host's namespace."""
        return f"{PREFIX}{os.getpid()}-{host}"

    async def __aenter__(self) -> Network:
        """Make the hosts."""
        await _remove(name for name in _ours() if not _alive(name))
        try:
            await self._make()
        except BaseException:
            await self._remove_own()
            raise
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Remove them, and end the processes in them."""
        await self._remove_own()

    async def inside(self, host: str, *arguments: str) -> str:
        """Run a short command on a host."""
        return await command("ip", "netns", "exec", self.namespace(host), *arguments)

    def socket_on(self, host: str) -> socket.socket:
        """Return a TCP socket in the host's network."""
        with _moved_to(self.namespace(host)):
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    @contextlib.asynccontextmanager
    async def running(
        self, host: str, *arguments: str, log: Path, talks: bool = True
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a program on a host for the duration of the block, with its standard error in `log`.

        Standard output is a pipe if the program `talks`, else it goes to `log` too. The pid is the program's own. It
        is killed if this process is killed.
        """
        enter = ("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.namespace(host))
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *enter,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if talks else errors,
                stderr=errors,
                cwd=Path(__file__).parents[2],
            )
        try:
            yield process
        finally:
            await end(process)

    async def _make(self) -> None:
        switch = self.namespace(SWITCH)
        await command("ip", "netns", "add", switch)
        await command("ip", "-n", switch, "link", "add", "name", "br0", "type", "bridge")
        await command("ip", "-n", switch, "link", "set", "dev", "br0", "up")
        for host, addresses in HOSTS.items():
            name = self.namespace(host)
            etc = ETC / name
            etc.mkdir(parents=True)
            (etc / "resolv.conf").write_text(RESOLV_CONF)
            (etc / "hosts").write_text("127.0.0.1 localhost\n")
            ends = ("eth0", "netns", name, "type", "veth", "peer", "name", host, "netns", switch)
            await command("ip", "netns", "add", name)
            await command("ip", "link", "add", "name", *ends)
            await command("ip", "-n", switch, "link", "set", "dev", host, "master", "br0", "up")
            for address in addresses:
                await command("ip", "-n", name, "addr", "add", f"{address}/15", "dev", "eth0")
            await command("ip", "-n", name, "link", "set", "dev", "lo", "up")
            await command("ip", "-n", name, "link", "set", "dev", "eth0", "up")

    async def _remove_own(self) -> None:
        await _remove(self.namespace(host) for host in (*HOSTS, SWITCH))


async def end(process: asyncio.subprocess.Process, number: signal.Signals = signal.SIGTERM) -> int:
    """Stop a program, kill it if it does not end, and return its exit status."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _ours() -> list[str]:
    places = [place for place in (NETNS, ETC, TEMPORARY) if place.is_dir()]
    return sorted({each.name for place in places for each in place.iterdir() if each.name.startswith(PREFIX)})


def _alive(name: str) -> bool:
    """Whether the run to which this namespace belongs is still running."""
    pid = name.removeprefix(PREFIX).partition("-")[0]
    return not pid.isdigit() or Path("/proc", pid).exists()


async def _remove(names: Iterator[str]) -> None:
    for name in names:
        if (NETNS / name).exists():
            for pid in (await command("ip", "netns", "pids", name)).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            await command("ip", "netns", "del", name)
        _forget(name)


def _forget(name: str) -> None:
    for place in (ETC, TEMPORARY):
        shutil.rmtree(place / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        ETC.rmdir()  # unless another run has something in it


@contextlib.contextmanager
def _moved_to(namespace: str) -> Iterator[None]:
    """Let this thread create sockets in another network namespace; the block must not `await`."""
    there = os.open(NETNS / namespace, os.O_RDONLY)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(here)
    finally:
        os.close(there)
        os.close(here)


def _enter(descriptor: int) -> None:
    clone_newnet = 0x40000000
    if _setns(descriptor, clone_newnet) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
