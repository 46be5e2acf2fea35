"""A datacenter: an emulated EventGate with TLS, and a relay in front of it if a scenario needs one."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.netns.network import HOSTS, LabError, Network, command, words_of

PORT = 4492
START_SECONDS = 20.0
ANSWER_SECONDS = 10.0


async def make_authority(folder: Path) -> Path:
    """Make a certificate authority; return its certificate."""
    await _openssl(
        folder / "ca",
        "-subj", "/CN=Certificate authority of the failover lab",
        "-addext", "basicConstraints=critical,CA:TRUE",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    return folder / "ca.pem"


async def make_certificate(folder: Path, datacenter: str) -> Path:
    """Make the certificate of a datacenter's EventGate, with the real one's names; return its path without suffix."""
    names = (
        "eventgate-main.discovery.wmnet",
        f"eventgate-main.svc.{datacenter}.wmnet",
        f"staging.svc.{datacenter}.wmnet",
    )
    await _openssl(
        folder / datacenter,
        "-subj", f"/CN={names[0]}",
        "-addext", "basicConstraints=critical,CA:FALSE",
        "-addext", "keyUsage=critical,digitalSignature",
        "-addext", "extendedKeyUsage=serverAuth",
        "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
        "-CA", str(folder / "ca.pem"),
        "-CAkey", str(folder / "ca.key"),
    )  # fmt: skip
    return folder / datacenter


async def _openssl(stem: Path, *arguments: str) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{stem}.key")
    await command("openssl", "req", "-x509", "-days", "2", *key, "-out", f"{stem}.pem", *arguments)


@dataclass(frozen=True)
class EventGate:
    """A running emulator; `output` has a JSON line for each accepted event."""

    host: str
    output: Path
    _network: Network
    _process: asyncio.subprocess.Process
    _control: int

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def fault(self, mode: str, seconds: float = 1.0) -> None:
        """Set one of the emulator's faults; `none` ends it."""
        body = json.dumps({"mode": mode, "seconds": seconds})
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=ANSWER_SECONDS)
        with contextlib.closing(connection):
            connection.sock = self._network.socket_on(self.host)
            connection.sock.settimeout(ANSWER_SECONDS)
            connection.sock.connect(("127.0.0.1", self._control))
            connection.request("PUT", "/_emulator/fault", body)
            status = connection.getresponse().status
        if status != 200:
            raise LabError(f"the emulator of {self.host} answered {status} to the fault {mode}")

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)


@contextlib.asynccontextmanager
async def eventgate(network: Network, host: str, certificate: Path, folder: Path) -> AsyncIterator[EventGate]:
    """Run an emulated EventGate on a host."""
    output, log = folder / f"{host}.events", folder / f"{host}.log"
    arguments = (
        *(sys.executable, "-m", "sidecar.demo.emulator", "--name", host, "--topic-prefix", "staging."),
        *("--listen", f"{HOSTS[host][0]}:{PORT}", "--control", "127.0.0.1:0", "--output", str(output)),
        *("--certfile", f"{certificate}.pem", "--keyfile", f"{certificate}.key"),
    )
    async with network.running(host, *arguments, log=log) as process:
        ready = json.loads(await _line(process, log))
        control = int(ready["control"].rpartition(":")[2])
        try:
            yield EventGate(host, output, network, process, control)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class Relay:
    """A running relay in front of an EventGate."""

    _process: asyncio.subprocess.Process
    _log: Path

    async def tell(self, words: str) -> None:
        """Send it a command of those that `relay` lists."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())
        await _line(self._process, self._log)


@contextlib.asynccontextmanager
async def relay(network: Network, host: str, folder: Path) -> AsyncIterator[Relay]:
    """Run a relay on the second address of a host, to the EventGate on its first."""
    direct, relayed = HOSTS[host]
    log = folder / "relay.log"
    arguments = ("-m", "tests.netns.relay", "--listen", f"{relayed}:{PORT}", "--to", f"{direct}:{PORT}")
    async with network.running(host, sys.executable, *arguments, log=log) as process:
        await _line(process, log)
        yield Relay(process, log)


async def _line(process: asyncio.subprocess.Process, log: Path) -> bytes:
    """Read the line with which a program of the lab says that it is ready."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line:
        raise LabError(f"a program of the lab does not answer: {words_of(log)}")
    return line
