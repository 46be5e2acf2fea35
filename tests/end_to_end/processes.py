"""Child processes: `eventgate-sidecar serve`, and emulated EventGates."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes import PATIENCE, Answer

ROOT = Path(__file__).parent.parent.parent
Json = Any
"""Whatever JSON can hold, as Python holds it."""


class Process:
    """A Python process of ours that writes lines of JSON; all of them are kept."""

    def __init__(self, *words: str, env: Mapping[str, str] | None = None, inside: Sequence[str] = ()) -> None:
        """Run `python -m …` with no variable of our own environment that the sidecar reads.

        `inside` is a command that becomes the one which follows it, such as `unshare`.
        """
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "OTEL_"))}
        self.lines: list[Json] = []
        self._came = threading.Condition()
        self._child = subprocess.Popen(
            [*inside, sys.executable, "-m", *words],
            cwd=ROOT,
            env={**own, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.pid = self._child.pid
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def line(self, wanted: Callable[[Json], bool]) -> Json:
        """Return the first line that is wanted, once it is there."""
        with self._came:
            found = self._came.wait_for(
                lambda: [each for each in self.lines if wanted(each)] or self._child.poll() is not None,
                PATIENCE,
            )
        assert isinstance(found, list), f"there is no such line: {self.lines}"
        return found[0]

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._child.send_signal(number)

    def end(self) -> int:
        """Wait for its end; return its status."""
        status = self._child.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def kill(self) -> None:
        """End it at once, if it is still there."""
        if self._child.poll() is None:
            self._child.kill()
        self.end()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    @property
    def open_files(self) -> int:
        """How many file descriptors it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as lines:
            for line in lines:
                with self._came:
                    self.lines.append(_parsed(line))
                    self._came.notify_all()
        with self._came:
            self._came.notify_all()


def _parsed(line: bytes) -> Json:
    try:
        return json.loads(line)
    except ValueError:
        return line.decode(errors="replace")


@dataclass(frozen=True)
class Emulator:
    """An emulated EventGate."""

    process: Process
    address: str
    control: str
    output: Path

    @property
    def kept(self) -> list[Json]:
        """What it accepted, oldest first; a line that it is still writing does not count yet."""
        whole, _, _ = self.output.read_bytes().rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()]

    def forget(self) -> None:
        """Go right again, with nothing kept."""
        self.fault("none")
        self.output.write_bytes(b"")

    def fault(self, mode: str, seconds: float = 1.0) -> None:
        """Have it go wrong from now on."""
        body = json.dumps({"mode": mode, "seconds": seconds}).encode()
        assert ask(self.control, "PUT", "/_emulator/fault", body).status == 200


@contextlib.contextmanager
def emulator(folder: Path, name: str = "eventgate", listen: str = "127.0.0.1:0", **options: str) -> Iterator[Emulator]:
    """Run an emulated EventGate."""
    output = folder / f"{name}.jsonl"
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]
    process = Process("sidecar.demo.emulator", "--name", name, "--listen", listen, "--output", str(output), *words)
    try:
        ready = process.line(lambda line: "url" in line)
        yield Emulator(process, _address(ready["url"]), _address(ready["control"]), output)
    finally:
        process.kill()


@dataclass(frozen=True)
class Sidecar:
    """A running sidecar."""

    process: Process
    address: str
    admin: str

    def in_flight(self) -> int:
        """How many requests it is answering, as it says when it stops."""
        return int(self.process.line(lambda line: _action(line) == "Stopped")["eventgate_sidecar"]["unanswered"])

    @property
    def connections(self) -> int:
        """How many connections of producers it has not let go of."""
        port = int(self.address.rpartition(":")[2])
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        held = {"01", "08"}  # established, and closed by the other side only
        return sum(row[1].endswith(f":{port:04X}") and row[3] in held for row in rows)

    def gauge(self, name: str) -> float:
        """Return the value of a metric without labels."""
        lines = ask(self.admin, "GET", "/metrics").body.decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    def metrics(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a metric, by the values of their labels in the order of their names."""
        samples = {}
        for line in ask(self.admin, "GET", "/metrics").body.decode().splitlines():
            if line.startswith(name + "{"):
                labels, _, value = line.rpartition(" ")
                samples[tuple(re.findall(r'"([^"]*)"', labels))] = float(value)
        return samples


@contextlib.contextmanager
def sidecar(
    routes: Path, *words: str, env: Mapping[str, str] | None = None, inside: Sequence[str] = ()
) -> Iterator[Sidecar]:
    """Run `serve` on ports of its own; `inside` as of `Process`."""
    addresses = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    process = Process("sidecar", "serve", "--routes", str(routes), *addresses, *words, env=env, inside=inside)
    try:
        listening = process.line(lambda line: _action(line) == "Listening")["eventgate_sidecar"]
        yield Sidecar(process, listening["intake"], listening["admin"])
    finally:
        process.kill()


def ask(address: str, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """Send one request and read its answer."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, response.reason, fields, response.read())


def _action(line: Json) -> str | None:
    return line.get("event", {}).get("action") if isinstance(line, dict) else None


def _address(url: str) -> str:
    return url.partition("://")[2]
