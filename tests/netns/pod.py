"""What runs in the pod: the sidecar under test, and the traffic of a model server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.netns.lab import Lab
from tests.netns.network import LabError, Network, end, eventually, words_of

UPSTREAM: dict[str, object] = {
    "url": "https://staging.svc.{datacenter}.wmnet:4492/v1/events",
    "datacenters": ["eqiad", "codfw"],
}
SETTINGS: dict[str, object] = {"health_check": {"interval": "1s"}, "failback": "3s"}
"""Settings of the upstream that differ from the defaults, so that the experiments are short."""
ARGUMENTS: tuple[str, ...] = ()
"""More arguments for `serve`."""

INTAKE = 8888
ADMIN = 9102
RATE = 50.0
LOAD_SECONDS = 60.0
READY_SECONDS = 20.0


@dataclass
class Sidecar:
    """A running sidecar."""

    log: Path
    listened_after: float
    """Seconds from exec until it accepted connections."""
    idled: float
    """The seconds of these in which it waited for something other than a processor, such as an answer."""
    exit_status: int | None = None
    """Known after the end."""


def routes(ca_file: Path) -> str:
    """Return the sidecar's configuration."""
    upstream = {**UPSTREAM, **SETTINGS, "tls": {"ca_file": str(ca_file)}}
    return yaml.safe_dump(
        {"version": 1, "upstreams": {"staging": upstream}, "routes": [{"name": "staging", "to": "staging"}]},
        sort_keys=False,
    )


@contextlib.asynccontextmanager
async def sidecar(lab: Lab, folder: Path, *, wait_ready: bool = True) -> AsyncIterator[Sidecar]:
    """Run the sidecar; the block begins once it listens, or with `wait_ready` once it is ready."""
    (folder / "routes.yaml").write_text(routes(lab.ca_file))
    log = folder / "sidecar.log"
    serve = ("-m", "sidecar", "serve", "--routes", str(folder / "routes.yaml"), *ARGUMENTS)
    clock = asyncio.get_running_loop().time
    start = clock()
    async with lab.network.running("pod", sys.executable, *serve, log=log, talks=False) as process:
        found = Sidecar(log, 0.0, 0.0)
        try:
            await _until(lambda: _listens(lab.network), process, log)
            found.listened_after = clock() - start
            found.idled = max(0.0, found.listened_after - _processor_seconds(process.pid))
            if wait_ready:
                await _until(lambda: _ready(lab.network), process, log)
            yield found
        finally:
            found.exit_status = await end(process, signal.SIGINT)


@contextlib.asynccontextmanager
async def traffic(lab: Lab, folder: Path, *, request_ids: bool = False) -> AsyncIterator[Traffic]:
    """Start a client that can post events to the sidecar."""
    output, log = folder / "answers", folder / "load.log"
    output.touch()
    arguments = (
        *(sys.executable, "-m", "tests.netns.load", "--url", f"http://127.0.0.1:{INTAKE}/v1/events"),
        *("--rate", str(RATE), "--seconds", str(LOAD_SECONDS), "--output", str(output)),
        *(("--request-ids",) if request_ids else ()),
    )
    async with lab.network.running("pod", *arguments, log=log) as process:
        assert process.stdout is not None
        if not await process.stdout.readline():
            raise LabError(f"the traffic does not start: {words_of(log)}")
        yield Traffic(output, process, log)


@dataclass(frozen=True)
class Traffic:
    """A client in the pod; `output` has a JSON line for each event with its result."""

    output: Path
    _process: asyncio.subprocess.Process
    _log: Path

    def start(self) -> None:
        """Start posting."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    async def finish(self) -> None:
        """Stop posting, and wait for the outstanding answers."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(READY_SECONDS):
            status = await self._process.wait()
        if status:
            raise LabError(f"the traffic ended with status {status}: {words_of(self._log)}")


async def _until(true: Callable[[], bool], process: asyncio.subprocess.Process, log: Path) -> None:
    came_true = await eventually(lambda: process.returncode is not None or true(), READY_SECONDS)
    if process.returncode is not None:
        raise LabError(f"the sidecar ended with status {process.returncode}: {words_of(log)}")
    if not came_true:
        raise LabError(f"the sidecar is not ready after {READY_SECONDS:g} s: {words_of(log)}")


def _processor_seconds(pid: int) -> float:
    """Return how long a process ran or waited for a processor; 0 if the kernel does not count."""
    try:
        ran, stood = Path("/proc", str(pid), "schedstat").read_text().split()[:2]
    except (OSError, ValueError):
        return 0.0
    return (int(ran) + int(stood)) / 1e9


def _listens(network: Network) -> bool:
    with network.socket_on("pod") as probe:
        return probe.connect_ex(("127.0.0.1", INTAKE)) == 0


def _ready(network: Network) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", ADMIN)
    with contextlib.closing(connection), network.socket_on("pod") as probe:
        probe.settimeout(1.0)
        connection.sock = probe
        try:
            probe.connect(("127.0.0.1", ADMIN))
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
