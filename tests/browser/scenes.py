"""Scenes that an operator may find at 3 a.m.: a sidecar with its datacenters, and one fault.

The sidecar runs with the shipped `routes.yaml` and the real names of production and staging. For that it has its own
`/etc/hosts` and `/etc/resolv.conf`, in its own mount namespace.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import yaml

from sidecar.demo import modelserver
from sidecar.demo.proof import STREAMS
from sidecar.demo.stage import GATES, _free_port
from tests.end_to_end.processes import ROOT, Emulator, Sidecar, ask, emulator, sidecar

NAMES = {
    "production": "eventgate-main.discovery.wmnet",
    "eqiad": "staging.svc.eqiad.wmnet",
    "codfw": "staging.svc.codfw.wmnet",
}
POD = "enwiki-drafttopic-predictor-00042-7d9f4"
SILENT = "127.9.9.9"
"""An address without a name server."""
QUICK = {"health_check": {"interval": "500ms", "timeout": "500ms"}, "failback": "1s"}
KINDS = (modelserver.DRAFTTOPIC, modelserver.OUTLINK, modelserver.DAMAGING, modelserver.COUNTRY, modelserver.TAGS)
POSTERS, PAUSE_SECONDS = 4, 0.2

Gates = Mapping[str, Emulator]
"""EventGates by name."""


@dataclass(frozen=True)
class Stage:
    """A running sidecar, and the faults around it."""

    running: Sidecar
    gates: Gates
    routes: Path
    hosts: Path

    @property
    def url(self) -> str:
        """URL of the status page."""
        return f"http://{self.running.address}/_sidecar/status"

    def fault(self, mode: str, *names: str) -> None:
        """Set a fault in some EventGates."""
        for name in names:
            self.gates[name].fault(mode)

    def lose_names(self) -> None:
        """Make every look-up fail."""
        self.hosts.write_text("")

    def misspell(self) -> None:
        """Put a typo into `routes.yaml`."""
        text = self.routes.read_text()
        self.routes.write_text(text.replace("to: staging\n", "to: stagign\n", 1))


@dataclass(frozen=True)
class Scene:
    """A fault, and what the page then shows."""

    name: str
    level: str
    sentence: str
    """Regular expression for the whole sentence on top."""
    marks: dict[str, str]
    """For headings of cards and sections, a regular expression for the text there."""
    begin: Callable[[Stage], None]
    options: tuple[str, ...] = ()
    """Options of `serve`."""
    with_names: bool = True
    """Whether names can be looked up at the start."""

    @contextlib.contextmanager
    def prepared(self, gates: Gates, folder: Path) -> Iterator[Stage]:
        """Start everything; the fault is not there yet, unless it is there from the start."""
        options = [option.format(folder=folder) for option in self.options]
        with stage(gates, folder, *options, with_names=self.with_names) as running:
            yield running

    def says(self) -> re.Pattern[str]:
        """Return the expression that the sentence must match."""
        return re.compile(f"^{self.sentence}$")


HANGS = r"connects, then silent for 0\.5 s: hangs"
NO_DNS = r"The DNS resolver is down: none of 3 names can be looked up \(no name server answered within 1\.5 s\)"
SPOOL = ("--spool", "{folder}/spool")
FLOW = "Flow of the last minute"
HEALTHY, UNHEALTHY = "● healthy", "✕ unhealthy"
SCENES = (
    Scene(
        "well",
        "well",
        r"✓ All well: production, staging → \w+; [\d.]+ events/s; "
        "nothing waiting",
        {"eqiad": HEALTHY, "codfw": HEALTHY, "Spool": "0 events"},
        lambda _: None,
        SPOOL,
    ),
    Scene(
        "one datacenter hangs",
        "warning",
        rf"▲ staging: eqiad has been down for \d+ s \({HANGS}\); events go to codfw",
        {
            "staging → codfw": "eqiad",
            FLOW: "staging → eqiad: 0/min.*eqiad: ✕ hangs",
            "eqiad": f"{UNHEALTHY}.*{HANGS}",
            "codfw": HEALTHY,
        },
        lambda stage: stage.fault("freeze", "eqiad"),
        SPOOL,
    ),
    Scene(
        "both hang",
        "bad",
        rf"✕ staging: no datacenter has answered for \d+ s \(eqiad and codfw: {HANGS}\)\. "
        r"There is no spool: events fail, and model servers get 503 \(and 1 more problem\)",
        {"staging → nowhere": "eqiad", "eqiad": f"{UNHEALTHY}.*{HANGS}", "codfw": f"{UNHEALTHY}.*{HANGS}"},
        lambda stage: stage.fault("freeze", "eqiad", "codfw"),
    ),
    Scene(
        "the spool fills",
        "bad",
        r"✕ staging: no datacenter has answered for \d+ s \(eqiad and codfw: refuses the connection\)\. "
        r"Events are kept in the spool: \d+ events wait, the oldest for \d+ s; at this rate it is full in \d+ \w+",
        {
            "staging → nowhere": "eqiad",
            FLOW: r"staging → spool: [1-9]\d*/min",
            "Spool": r"Waiting\s*[1-9]\d* events, the oldest for \d+ s \(staging: \d+\)",
        },
        lambda stage: stage.fault("refuse", "eqiad", "codfw"),
        SPOOL,
    ),
    Scene(
        "DNS is dead",
        "warning",
        rf"▲ {NO_DNS}; the last known addresses are in use",
        {"eqiad": "stale: no name server answered", "codfw": f"stale: no name server answered.*{HEALTHY}"},
        Stage.lose_names,
        SPOOL,
    ),
    Scene(
        "DNS was never there",
        "bad",
        rf"✕ {NO_DNS}; no address of production and staging is known\. Events are kept in the spool: "
        r"\d+ events wait, the oldest for \d+ s; at this rate it is full in \d+ \w+",
        {"eqiad": "✕ no name server answered", "codfw": "✕ no name server answered"},
        lambda _: None,
        SPOOL,
        with_names=False,
    ),
    Scene(
        "a broken edit",
        "warning",
        r"▲ routes\.yaml is refused, and the configuration from \d+ s ago stays in force: line \d+: routes\[2\]\.to is "
        r"'stagign', but no upstream has that name \(did you mean 'staging'\?\); known upstreams: production, staging",
        {"Configuration": r"✕ The file on disk is refused.*routes\.yaml:\d+:\d+: .*'stagign'.*did you mean 'staging'"},
        Stage.misspell,
        SPOOL,
    ),
)


@contextlib.contextmanager
def gates_running(folder: Path) -> Iterator[Gates]:
    """Run two staging datacenters and production, for all scenes."""
    streams = folder / "streams.json"
    streams.write_text(json.dumps(STREAMS))
    port = _free_port(*(gate.host for gate in GATES))
    with contextlib.ExitStack() as running:
        yield {
            gate.name: running.enter_context(emulator(folder, gate.name, f"{gate.host}:{port}", streams=str(streams)))
            for gate in GATES
        }


@contextlib.contextmanager
def stage(gates: Gates, folder: Path, *options: str, with_names: bool = True) -> Iterator[Stage]:
    """Run a sidecar in front of them, and a model server that posts."""
    hosts = folder / "hosts"
    hosts.write_text("".join(f"{gate.host} {NAMES[gate.name]}\n" for gate in GATES) if with_names else "")
    routes = _routes(folder, gates["production"].address.rpartition(":")[2])
    words = ("--label", "env=staging", "--label", "isvc=enwiki-drafttopic", *options)
    with sidecar(routes, *words, inside=namespace(folder, hosts)) as running, _posting(running.address):
        try:
            yield Stage(running, gates, routes, hosts)
        finally:
            for gate in gates.values():
                gate.forget()


def namespace(folder: Path, hosts: Path) -> Sequence[str]:
    """Return the prefix that runs a command with these hosts and without a name server that answers."""
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text(f"nameserver {SILENT}\n")
    script = (
        f'hostname {POD} && mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
    )
    return ("unshare", "--map-root-user", "--mount", "--uts", "sh", "-c", script, str(hosts), str(resolv_conf))


def missing(folder: Path) -> str | None:
    """Return why no scene can run here; None if they can."""
    hosts = folder / "hosts"
    hosts.write_text("")
    try:
        tried = subprocess.run([*namespace(folder, hosts), "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return f"no namespace of mounts can be made: {tried.stderr.strip()}" if tried.returncode else None


def _routes(folder: Path, port: str) -> Path:
    """Write the shipped rules, with emulated EventGates behind the real names."""
    config = yaml.safe_load((ROOT / "routes.yaml").read_text())
    for upstream in config["upstreams"].values():
        upstream |= {
            "url": re.sub(r"^https(.*):\d+/", rf"http\1:{port}/", upstream["url"]),
            **deepcopy(QUICK),
        }  # YAML would write equal values as aliases
        del upstream["tls"]
    path = folder / "routes.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False, width=110))
    return path


@contextlib.contextmanager
def _posting(address: str) -> Iterator[None]:
    """Post events one after the other, whatever the answers."""
    ended, numbers = threading.Event(), itertools.count()

    def post() -> None:
        while not ended.wait(PAUSE_SECONDS):
            number = next(numbers)
            kind = KINDS[number % len(KINDS)]
            event = json.dumps(kind.make(kind.stream, number)).encode()
            ask(address, "POST", "/v1/events", event, {"content-type": "application/json"})

    posters = [threading.Thread(target=post) for _ in range(POSTERS)]
    for poster in posters:
        poster.start()
    try:
        yield
    finally:
        ended.set()
        for poster in posters:
            poster.join()
