"""The two-hop world: pods that are deleted with their disks, and a gateway that takes over their spools."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.serve.runtime import Settings
from tests.simulation.clocks import CLOCKS
from tests.simulation.disk import Disk
from tests.simulation.machines import Machine
from tests.simulation.names import Record
from tests.simulation.network import Weather
from tests.simulation.oracle import numbers_in
from tests.simulation.sidecar import Folder, Sidecar
from tests.simulation.world import SPOOL_BYTES, World

if TYPE_CHECKING:
    from tests.simulation.network import End, Place
    from tests.simulation.plan import Act, Maker, Plan

HOST = "gateway.example"
PLACE: Place = ("10.5.0.1", 8888)
URL = f"http://{HOST}:{PLACE[1]}/v1/events"
GRACE = 15.0
"""Seconds after SIGTERM at which the pod is killed and its disk deleted."""


class GatewayFolder(Folder):
    """The files of the gateway: the pods' rules, and its own volume."""

    def __init__(self, path: Path) -> None:
        """They are where `path` says."""
        super().__init__(path)
        self.last_good = path / "gateway-last-good.yaml"

    def spool(self, life: int) -> Path:
        """Return the directory of its spool in a life; the volume outlives the pod, so the next life has a copy."""
        return self.path / f"gateway-{life}"


class Gateway(Sidecar):
    """One life of the gateway."""

    name = "gateway"

    def settings(self, setup: dict[str, Any]) -> Settings:
        """Return its settings: a pod with labels that no route matches."""
        return Settings(
            routes=self.folder.routes,
            listen=f"{PLACE[0]}:{PLACE[1]}",
            admin=f"{PLACE[0]}:9102",
            labels={"env": "gateway"},
            drain=8.0,
            quiet=2.0,
            spool=self.folder.spool(self.life),
            last_good=self.folder.last_good if setup.get("edits") else None,
            gateway=True,
            hand_over_from="10.0.0.0/8",
        )


@dataclass(frozen=True)
class Deleted:
    """A pod that was deleted with its disk."""

    life: int
    since: float
    """When it got SIGTERM."""
    ended: str
    """How it ended."""
    left: frozenset[int]
    """Events that waited on its disk at that time."""


class TwoHops(World):
    """A world with a gateway."""

    def __init__(self, plan: Plan, path: Path) -> None:
        """Build it."""
        self.deleted: list[Deleted] = []
        self.machine = Machine(self._accept, weather=Weather())
        super().__init__(plan, path)

    def run(self) -> None:
        """Carry out the plan to the end."""
        self._begin_gateway()
        super().run()

    def _build(self) -> None:
        super()._build()
        self.gateway_disk = Disk(f"{self.plan.seed}/gateway", SPOOL_BYTES)
        self.gateway_folder = GatewayFolder(self.folder.path)
        for name in ("routes", "resolv_conf", "hosts", "ca_file"):
            setattr(self.gateway_folder, name, getattr(self.folder, name))
        self.network.machines[PLACE] = self.machine
        self.names.records[HOST] = Record([PLACE[0]])
        for gate in self.gates.values():
            gate.life = lambda: len(self.lives) + 1000 * len(self.gateways)

    def _accept(self, end: End) -> None:
        listener = self.network.listeners.get(PLACE)
        if listener is None:
            end.reset()
            return
        end.process = listener.process
        self.network.ends.append(end)
        self.loop.happens(0.0, listener.process, self.network._accept, listener, end)

    def _begin_gateway(self) -> None:
        number = len(self.gateways) + 1
        life = Gateway(self.loop, self.network, self.gateway_folder, number, self.gateway_disk, self.tell)
        self.gateways.append(life)
        self.machine.door = "open"
        self.tell("world", f"gateway {number} starts")
        life.start(self.plan.setup)

    def _do(self, act: Act) -> None:
        deed = _DEEDS.get(act["do"])
        if deed is None:
            super()._do(act)
        else:
            deed(self, act)

    def _delete(self, _: Act) -> None:
        """Delete the pod: SIGTERM now, and deletion with its disk after the grace period; another pod starts."""
        life = self.sidecar
        if life.ended is not None or not life.keeps_disk:
            return
        life.keeps_disk = False
        self.tell("world", "the pod is deleted")
        self._disturb("sidecar", "deleted", CLOCKS.now, GRACE + 3.0)
        life.signal(signal.SIGTERM)
        self.loop.happens(GRACE, None, self._gone, life, CLOCKS.now)

    def _gone(self, life: Sidecar, since: float) -> None:
        if life.ended is None:
            life.kill()
        file = self.folder.spool(life.life) / "spool.db"
        left = numbers_in(file, "waiting")
        self.deleted.append(Deleted(life.life, since, life.ended or "", frozenset(left)))
        self.tell("world", f"the pod is gone, and {len(left)} events with its disk")
        self.excused |= left | numbers_in(file, "dead")
        if life is self.sidecar:
            self._again({})

    def _gateway_kill(self, act: Act) -> None:
        self._disturb("gateway", "killed", CLOCKS.now, act["seconds"] + 2.0)
        self.machine.door = "refuse"
        self.gateways[-1].kill(act["step"])
        self.loop.happens(act["seconds"], None, self._gateway_again)

    def _gateway_again(self) -> None:
        if self.gateways[-1].ended is None:  # it should have died in a job, but had none
            self.gateways[-1].kill()
        self._begin_gateway()

    def _gateway_door(self, act: Act) -> None:
        self.tell("world", f"connections to the gateway: {act['door']}")
        self._disturb("gateway", act["door"], CLOCKS.now, act["seconds"])
        self.machine.door = "refuse" if act["door"] == "refuse" else "silent"
        for end in self._gateway_ends():
            if act["door"] == "hole":
                end.weather.hole = True
            else:
                end.reset()
        self.loop.happens(act["seconds"], None, self._gateway_opens)

    def _gateway_opens(self) -> None:
        if self.gateways[-1].ended is None:
            self.machine.door = "open"

    def _gateway_cut(self, act: Act) -> None:
        """Break the connections to the gateway after this many more bytes: within a POST, or an answer."""
        self._disturb("gateway", "network", CLOCKS.now, 5.0)
        for end in self._gateway_ends():
            end.weather.reset_after[False] = act["after"]

    def _gateway_ends(self) -> list[End]:
        return [end for end in self.network.ends if not end.gone and end.place == PLACE]


_DEEDS: dict[str, Callable[[TwoHops, Act], None]] = {
    "delete": TwoHops._delete,
    "gateway kill": TwoHops._gateway_kill,
    "gateway door": TwoHops._gateway_door,
    "gateway cut": TwoHops._gateway_cut,
}


def plan_hops(maker: Maker, setup: dict[str, Any]) -> None:
    """Pods are deleted with their disks while EventGate is down; the gateway restarts, and its network breaks."""
    chance = maker.random
    setup |= {"spool": True, "gateway": URL}
    for route in setup["routes"]:
        route["match"]["labels"] = {"env": "staging"}
    if chance.random() < 0.3:
        setup["quota"] = 1_000_000
        for act in maker.posts():
            for event in act["events"]:
                if chance.random() < 0.3:
                    event["size"] = chance.choice([5_000, 50_000])
    for _ in range(chance.randint(1, 3)):
        at = round(chance.uniform(4.0, max(5.0, maker.heal - 4.0)), 3)
        maker.act(at, "delete")
        if chance.random() < 0.8:
            door = chance.choice(["refuse", "silent", "hole"])
            away = round(max(1.0, at - chance.choice([1.0, 3.0, 8.0])), 3)
            for upstream in ("main", "test"):
                maker.act(away, "door", gate=f"{upstream}/*", door=door)
        if chance.random() < 0.4:
            what = chance.choice(["gateway kill", "gateway door", "gateway cut"])
            begin = round(at + chance.uniform(-1.0, 8.0), 3)
            seconds = chance.choice([0.5, 2.0, 6.0])
            more: dict[str, dict[str, Any]] = {
                "gateway kill": {"seconds": seconds, "step": chance.choice([0, 0, chance.randint(1, 400)])},
                "gateway door": {"seconds": seconds, "door": chance.choice(["refuse", "silent", "hole"])},
                "gateway cut": {"after": chance.choice([0, 100, 1000, 5000])},
            }
            maker.act(begin, what, **more[what])
