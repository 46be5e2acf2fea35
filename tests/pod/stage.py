"""The test setup: the image, the datacenters, and the pod."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.demo.modelserver import KINDS, Posted
from sidecar.demo.proof import STREAMS, Gate, Record, problems, records_in
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router
from tests.helm.engine import ROOT, Object
from tests.helm.release import SIDECAR
from tests.netns.datacenter import PORT, make_authority, make_certificate
from tests.pod.manifests import ISVC, MODEL, written
from tests.pod.podman import Podman

PRODUCTION = Gate("production", "production", "198.18.0.1", "eqiad.")
EQIAD = Gate("eqiad", "staging", "198.18.1.11", "staging.")
CODFW = Gate("codfw", "staging", "198.18.2.21", "staging.")
GATES = (PRODUCTION, EQIAD, CODFW)
HOSTS = {
    "eventgate-main.discovery.wmnet": PRODUCTION.host,
    "staging.svc.eqiad.wmnet": EQIAD.host,
    "staging.svc.codfw.wmnet": CODFW.host,
}
CONFIG_MAP = "isvc-main-eventgate-sidecar"
LABELS = {"env": "staging", "isvc": ISVC}


@dataclass(frozen=True)
class Datacenters:
    """The emulated EventGates, with certificates like those of the real ones."""

    folder: Path
    processes: dict[str, subprocess.Popen[str]]
    controls: dict[str, str]
    """URL at which each gets its faults."""
    podman: Podman

    def fault(self, mode: str) -> None:
        """Set a fault in all of them."""
        code = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode(), method='PUT'))"
        body = json.dumps({"mode": mode, "seconds": 1.0})
        for url in self.controls.values():
            self.podman.run(*self.podman.inside(), sys.executable, "-c", code, f"{url}/_emulator/fault", body)

    @property
    def ca_file(self) -> Path:
        """The authority that signed the certificates."""
        return self.folder / "ca.pem"

    def records(self) -> list[Record]:
        """Return all accepted events."""
        return [record for gate in GATES for record in records_in(gate, self.folder / f"{gate.name}.events")]


@contextlib.contextmanager
def datacenters(podman: Podman, folder: Path) -> Iterator[Datacenters]:
    """Run an EventGate in each for the duration of the block."""
    asyncio.run(_certificates(folder))
    (folder / "streams.json").write_text(json.dumps(STREAMS))
    processes: dict[str, subprocess.Popen[str]] = {}
    try:
        for gate in GATES:
            stem = folder / ("eqiad" if gate is PRODUCTION else gate.name)
            command = (
                *(*podman.inside(), sys.executable, "-m", "sidecar.demo.emulator", "--name", gate.name),
                *("--listen", f"{gate.host}:{PORT}", "--topic-prefix", gate.prefix),
                *("--output", str(folder / f"{gate.name}.events"), "--streams", str(folder / "streams.json")),
                *("--certfile", f"{stem}.pem", "--keyfile", f"{stem}.key"),
            )
            processes[gate.name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        controls = {}
        for name, process in processes.items():
            assert process.stdout is not None
            controls[name] = json.loads(process.stdout.readline())["control"]
        yield Datacenters(folder, processes, controls, podman)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


async def _certificates(folder: Path) -> None:
    await make_authority(folder)
    for name in ("eqiad", "codfw"):
        await make_certificate(folder, name)


@dataclass(frozen=True)
class Pod:
    """A running pod."""

    podman: Podman
    ready_after: float
    """Seconds from the start of the sidecar's container until it was ready."""

    def post(self, events: int, seconds: float) -> list[Posted]:
        """Let the model server post; return the answers."""
        text = self.podman("exec", container(MODEL), "python", "/opt/model/model.py", "post", str(events), str(seconds))
        return posts_in(text)

    def python(self, name: str, code: str) -> Any:
        """Run Python in a container; return the JSON value that it printed."""
        return json.loads(self.podman("exec", container(name), "python", "-c", code))

    def kill(self, name: str) -> None:
        """Kill a container's process, as the kernel does; after `podman kill` podman would not restart it."""
        os.kill(int(self.state(name)["Pid"]), signal.SIGKILL)

    def state(self, name: str) -> Object:
        """Return a container's state from podman."""
        found: list[Object] = json.loads(self.podman("container", "inspect", container(name)))
        return {**found[0]["State"], "RestartCount": found[0]["RestartCount"]}

    def edit_routes(self, file: Path) -> None:
        """Replace the ConfigMap's file in the pod, as kubelet does."""
        volume = Path(self.podman("volume", "inspect", "--format", "{{.Mountpoint}}", CONFIG_MAP))
        (volume / "new").write_bytes(file.read_bytes())
        (volume / "new").replace(volume / "routes.yaml")

    def log(self, name: str) -> str:
        """Return a container's output."""
        return self.podman("logs", container(name))


@contextlib.contextmanager
def playing(
    podman: Podman, objects: list[Object], folder: Path, ca_file: Path, hosts: dict[str, str] = HOSTS
) -> Iterator[Pod]:
    """Run the pod for the duration of the block."""
    file = written(folder / "pod.yaml", objects, hosts, ca_file)
    podman("kube", "play", str(file))
    try:
        yield Pod(podman, _ready(podman))
    finally:
        podman("pod", "rm", "-f", "-t", "0", ISVC)
        podman("volume", "prune", "-f")


def _ready(podman: Podman) -> float:
    """Read the model server's log until it reports the sidecar as ready."""
    started = podman("container", "inspect", "--format", "{{.State.StartedAt.UnixMilli}}", container(SIDECAR))
    follow = podman.command("podman", "logs", "--follow", container(MODEL))
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True, env=podman.environment) as log:
        assert log.stdout is not None
        line = log.stdout.readline()
        log.kill()
    return float(json.loads(line)["ready"]) - int(started) / 1000


def container(name: str) -> str:
    """Return podman's name of a container in the pod."""
    return f"{ISVC}-{name}"


def posts_in(text: str) -> list[Posted]:
    """Read the output of model.py."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"kind"')]
    return [
        Posted(KINDS[each["kind"]], each["id"], each["body"].encode(), each["status"], each["reason"], each["seconds"])
        for each in lines
    ]


def wrong(
    posts: list[Posted],
    records: list[Record],
    routes: Path = ROOT / "routes.yaml",
    *,
    allowed: tuple[str, ...] = (),
) -> list[str]:
    """Return what is wrong with these posts: lost, doubled, misplaced, changed or wrongly answered, unless allowed."""
    ids = {post.id for post in posts}
    mine = [record for record in records if record.id in ids]
    router = Router(read(routes.read_text()), LABELS)
    return [words for name, words in problems(posts, mine, router) if name not in allowed]
