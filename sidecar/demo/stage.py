"""Starts the parts of the demo as processes on loopback, lets the model server post, and stops everything.

The demo's sidecar reads a hosts file of its own, in which staging.eqiad.test and staging.codfw.test are 127.0.0.2 and
127.0.0.3. Nobody else has names below `test` (RFC 6761), and only Linux has these addresses without setup.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import statistics
import sys
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

import yaml

from sidecar.demo import modelserver, screen
from sidecar.demo.proof import (
    PROBLEMS,
    STREAMS,
    Gate,
    Json,
    Record,
    lines_of,
    problems,
    records_in,
    repeated,
    ways,
)
from sidecar.routes.file import read_config
from sidecar.routes.routing import Router

EVENTS = 250
SECONDS = 5.0
"""How long the model server takes to post them."""
HANG_AT, HANG_SECONDS = 1.5, 2.0
"""When and how long the preferred staging datacenter hangs: it accepts connections but never answers."""
START_SECONDS = 15.0
STOP_SECONDS = 3.0
LABELS = {"env": "staging", "isvc": "demo"}
GATES = (
    Gate("eqiad", "staging", "127.0.0.2", "staging."),
    Gate("codfw", "staging", "127.0.0.3", "staging."),
    Gate("production", "production", "127.0.0.1", "eqiad."),
)


class DemoError(Exception):
    """The demo cannot be started."""


def run(*, keep: bool, as_json: bool) -> int:
    """Run the demo; return 0 if every event went where routes.yaml says, else 1, or 130 after Ctrl-C.

    `keep` leaves everything running after the summary, until Ctrl-C; `as_json` prints only JSON.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="eventgate-sidecar-demo-") as folder:
            return asyncio.run(_Demo(Path(folder)).run(keep=keep, as_json=as_json))
    except DemoError as error:
        screen.show_complaint(f"eventgate-sidecar: {error}")
        return 1
    except asyncio.CancelledError:
        return 130


class _Demo:
    """One run, with its files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._routes = folder / "routes.yaml"
        self._hosts = folder / "hosts"
        self._posts: list[modelserver.Posted] = []
        self._processes: dict[str, Process] = {}
        self._services: dict[str, Json] = {}
        self._hung = (0.0, 0.0)
        """Start and end of the hang."""

    async def run(self, *, keep: bool, as_json: bool) -> int:
        loop, this, told = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
        on_signal = this.cancel if this else told.set
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._stop)
            begun = loop.time()
            await self._start()
            summary = await self._act(begun, quiet=as_json)
            if keep:
                await self._start_again()
            if as_json:
                screen.show_json(summary)
            if keep:
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, told.set)
                if not as_json:
                    screen.show_commands(summary["try"])
                await told.wait()
        return 0 if summary["ok"] else 1

    async def _act(self, begun: float, *, quiet: bool) -> Json:
        """Let the model server post, and return the summary; show progress unless `quiet`."""
        if not quiet:
            screen.show_services(self._services, SECONDS)
        with screen.progress(quiet=quiet) as show:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._let_hang(GATES[0].name, quiet=quiet))
                await modelserver.stream(
                    f"{self._services['sidecar']['url']}/v1/events",
                    self._posts,
                    lambda: show(lambda: ways(self._posts, self._records())),
                    events=EVENTS,
                    seconds=SECONDS,
                )
        summary = self._summary(asyncio.get_running_loop().time() - begun)
        if not quiet:
            screen.show_summary(summary)
        return summary

    async def _let_hang(self, name: str, *, quiet: bool) -> None:
        """Make an EventGate hang for a while, by SIGSTOP."""
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(HANG_AT)
        begun = clock()
        self._processes[name].send_signal(signal.SIGSTOP)
        try:
            if not quiet:
                screen.show_hang(name, HANG_SECONDS)
            await asyncio.sleep(HANG_SECONDS)
        finally:
            self._processes[name].send_signal(signal.SIGCONT)
        self._hung = (begun, clock())

    async def _start(self) -> None:
        streams = self._folder / "streams.json"
        streams.write_text(json.dumps(STREAMS))
        ports = {"staging": _free_port("127.0.0.2", "127.0.0.3"), "production": _free_port("127.0.0.1")}
        self._routes.write_text(_routes(ports))
        self._hosts.write_text("".join(f"{gate.host} staging.{gate.name}.test\n" for gate in GATES))
        for gate in GATES:
            listen = f"{gate.host}:{ports[gate.upstream]}"
            where = ("--listen", listen, "--output", str(self._output(gate)), "--streams", str(streams))
            await self._launch(
                gate.name, "sidecar.demo.emulator", "--name", gate.name, "--topic-prefix", gate.prefix, *where
            )
        for gate in GATES:
            said = await self._heard(gate.name, "control")
            self._services[gate.name] = {
                "upstream": gate.upstream,
                "url": said["url"],
                "topics": f"{gate.prefix}*",
                "control": f"{said['control']}/_emulator/fault",
            }
        await self._start_sidecar("127.0.0.1:0", "127.0.0.1:0")

    async def _start_sidecar(self, listen: str, admin: str) -> None:
        labels = [word for name, value in LABELS.items() for word in ("--label", f"{name}={value}")]
        where = ("--routes", str(self._routes), "--listen", listen, "--admin", admin)
        command = ("sidecar.commands", str(self._hosts), "serve")
        await self._launch("sidecar", *command, *where, *labels, "--drain", "0s", "--tap")
        said = await self._heard("sidecar", "intake")
        self._services["sidecar"] = {
            "url": f"http://{said['intake']}",
            "admin": f"http://{said['admin']}",
            "labels": LABELS,
        }

    async def _start_again(self) -> None:
        """Start a new sidecar in place of the one whose events were to fail: its status page begins with all well."""
        services, process = self._services["sidecar"], self._processes["sidecar"]
        process.terminate()
        await process.wait()
        self._log("sidecar").unlink()
        await self._start_sidecar(*(services[name].removeprefix("http://") for name in ("url", "admin")))
        await modelserver.one_of_each(f"{services['url']}/v1/events")

    async def _launch(self, name: str, *arguments: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SIDECAR_")}
        log = os.open(self._log(name), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            self._processes[name] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *arguments),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C must only reach this process, which then stops the others
            )
        finally:
            os.close(log)

    async def _heard(self, name: str, key: str) -> Json:
        """Wait until a process writes a JSON line with `key`, and return that line."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while self._processes[name].returncode is None:
                    for line in lines_of(self._log(name)):
                        said = {**line, **line.get("eventgate_sidecar", {})}
                        if key in said:
                            return said
                    await asyncio.sleep(0.02)
        raise DemoError(f"{name} did not start: {self._log(name).read_text()}")

    async def _stop(self) -> None:
        """Stop all processes, the sidecar first; kill those that take too long."""
        for process in reversed(self._processes.values()):
            with suppress(ProcessLookupError):
                process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                for process in self._processes.values():
                    await process.wait()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _output(self, gate: Gate) -> Path:
        return self._folder / f"{gate.name}.jsonl"

    def _records(self) -> list[Record]:
        return [record for gate in GATES for record in records_in(gate, self._output(gate))]

    def _summary(self, seconds: float) -> Json:
        posts, records = self._posts, self._records()
        found = list(problems(posts, records, Router(read_config(self._routes), LABELS)))
        outcomes = Counter(post.outcome for post in posts)
        cuts = statistics.quantiles([1000 * post.seconds for post in posts], n=100, method="inclusive")
        return {
            "ok": not found,
            "events": {
                "sent": len(posts),
                **{outcome: outcomes[outcome] for outcome in ("delivered", "invalid", "failed")},
                "arrived": len({record.id for record in records}),
                "repeated": repeated(records),
                **{kind: sum(problem == kind for problem, _ in found) for kind in PROBLEMS},
            },
            "ways": ways(posts, records),
            "arrived": {gate.name: sum(record.gate is gate for record in records) for gate in GATES},
            "answers": dict(sorted(Counter(str(post.status) for post in posts).items())),
            "latency_ms": {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)},
            "hang": self._hang(records),
            "problems": [words for _, words in found],
            "seconds": round(seconds, 1),
            "services": self._services,
            "try": self._commands(),
        }

    def _hang(self, records: list[Record]) -> Json:
        """Summarise the effect of the hang on the model server."""
        begun, ended = self._hung
        meanwhile = [post for post in self._posts if begun - post.seconds <= post.begun < ended]
        felt = [post.seconds for post in meanwhile if post.status < 300]
        return {
            "datacenter": GATES[0].name,
            "seconds": round(ended - begun, 1),
            "events": len(felt),
            "elsewhere": sum(record.gate.name == GATES[1].name for record in records),
            "worst_ms": round(1000 * max(felt, default=0.0), 1),
        }

    def _commands(self) -> list[tuple[str, str]]:
        """Write an event to a file, and return commands to try, each with a description."""
        event = self._folder / "event.json"
        event.write_text(json.dumps(modelserver.OUTLINK.make(modelserver.OUTLINK.stream, 42)))
        url, eqiad = self._services["sidecar"]["url"], self._services["eqiad"]["control"]
        sidecar, listen = f"{shlex.quote(sys.executable)} -m sidecar", f"--listen {url.removeprefix('http://')}"
        why = f"{sidecar} explain --routes {self._routes} --label env=staging --event {event}"
        return [
            ("post an event", f"curl -i -H 'content-type: application/json' -d @{event} {url}/v1/events"),
            ("see it arrive", f"tail -n 1 {self._output(GATES[0])}"),
            ("see why it went there", why),
            ("see the whole state", f"{sidecar} top {listen}"),
            ("watch events pass; then post again", f"{sidecar} tap {listen}"),
            ("see the state in a browser", f"{url}/_sidecar/status"),
            ("which datacenter answers?", f"{sidecar} probe --running {listen}"),
            ("let eqiad hang; then post again: codfw gets the event", _fault(eqiad, "freeze")),
            ("let eqiad answer again", _fault(eqiad, "none")),
            ("see the metrics", f"curl -s {self._services['sidecar']['admin']}/metrics"),
        ]


def _fault(control: str, mode: str) -> str:
    return f'curl -X PUT -d \'{{"mode": "{mode}"}}\' {control}'


def _free_port(*hosts: str) -> int:
    """Return a port that is free on all of `hosts`."""
    for _ in range(20):
        with ExitStack() as stack, suppress(OSError):
            port = 0
            for host in hosts:
                taken = stack.enter_context(socket.socket())
                taken.bind((host, port))
                port = int(taken.getsockname()[1])
            return port
    raise DemoError(f"found no port that is free on {' and '.join(hosts)}; the demo needs Linux' loopback")


def _routes(ports: dict[str, int]) -> str:
    """Return the shipped routes.yaml with its upstreams replaced by the emulated EventGates."""
    here = Path(__file__).parent
    places = (here / "routes.yaml", here.parent.parent / "routes.yaml")  # in a wheel, in a checkout
    shipped = [path for path in places if path.is_file()]
    if not shipped:
        raise DemoError("the routes.yaml that comes with the package is not there")
    config = yaml.safe_load(shipped[0].read_text())
    try:
        production, staging = config["upstreams"]["production"], config["upstreams"]["staging"]
    except (KeyError, TypeError):
        raise DemoError(f"{shipped[0]} should have the upstreams production and staging") from None
    production["url"] = f"http://127.0.0.1:{ports['production']}/v1/events"
    staging["url"] = f"http://staging.{{datacenter}}.test:{ports['staging']}/v1/events"
    staging["datacenters"] = [gate.name for gate in GATES if gate.upstream == "staging"]
    for upstream in (production, staging):
        upstream.pop("tls", None)
    return "# The shipped rules; only the urls are the demo's.\n" + yaml.safe_dump(
        config, sort_keys=False, allow_unicode=True, width=110
    )
