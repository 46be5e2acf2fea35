"""Carries out a plan: machines, names, producers, and the real sidecar."""

from __future__ import annotations

import random
import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.simulation import damage, rules, strangers
from tests.simulation.clocks import CLOCKS
from tests.simulation.disk import Disk
from tests.simulation.gates import WELL, Gate
from tests.simulation.ledger import Ledger
from tests.simulation.loop import SimLoop
from tests.simulation.machines import Machine, Network
from tests.simulation.names import ADDRESS, NameServer, Record
from tests.simulation.network import Weather
from tests.simulation.operators import Operator
from tests.simulation.oracle import in_spool
from tests.simulation.plan import REST, Act, Plan
from tests.simulation.producers import Producers
from tests.simulation.sidecar import LISTEN, Folder, Sidecar
from tests.simulation.strangers import Stranger

AUTHORITIES = Path(__file__).parent / "authorities"
SPOOL_BYTES = 8 * 1024 * 1024
LARGEST_TRANSACTION = 800_000
"""Bytes: in a spool as small as here, the log has no room for a larger one within the bound; in a real one it has.

It is never larger than the spool."""


class World:
    """All parts of the simulation."""

    def __init__(self, plan: Plan, path: Path) -> None:
        """Build it; `path` is an empty directory for its files."""
        seed = str(plan.seed)
        CLOCKS.begin(seed)
        self.plan, self.ledger = plan, Ledger()
        self.network = Network(seed)
        self.loop = self.network.loop = SimLoop(seed, self.network)
        self.names = NameServer()
        self.network.name_server = self.names.ask
        self.disk = Disk(seed, plan.setup.get("quota", SPOOL_BYTES))
        self.producers = Producers(self.loop, self.network, self.ledger, LISTEN, seed)
        self.folder = Folder(path)
        self.gates: dict[str, Gate] = {}
        self.machines: dict[str, list[Machine]] = {}
        self.lives: list[Sidecar] = []
        self.gateways: list[Sidecar] = []
        """Lives of the gateway, if there is one."""
        self.config = rules.first(plan.setup)
        self.configs: list[tuple[float, rules.Config]] = []
        """The good configurations in the file, each with the time from which it was there."""
        self.written: list[float] = []
        """When the file was written, well or badly."""
        self.texts: list[tuple[rules.Config | None, str]] = []
        """All contents that the file ever had, with their meaning."""
        self.strangers: list[Stranger] = []
        self.operator = Operator()
        self.excused: set[int] = set()
        """Events that may be lost: on a damaged page, in a deleted file, or dropped by the operator."""
        self._stays = False
        self._build()

    @property
    def sidecar(self) -> Sidecar:
        """The current life."""
        return self.lives[-1]

    def run(self) -> None:
        """Carry out the plan to the end."""
        self.loop.look = self._look
        for act in self.plan.acts:
            self.loop.happens(float(act["at"]), None, self._do, act)
        self.loop.happens(self.plan.heal, None, self._heal)
        self.loop.happens(self.plan.heal + REST, None, self.loop.stop)
        self._start()
        self.loop.run_forever()

    def tell(self, who: str, what: str) -> None:
        """Add a line to the story."""
        self.ledger.tell(CLOCKS.now, who, what)

    def _look(self) -> None:
        """Record amounts beyond their bound."""
        amounts = self.sidecar.amounts() if self.lives else {}
        if amounts:
            file = self.folder.spool(len(self.lives)) / "spool.db"
            size = sum(each.stat().st_size for each in (file, file.with_name("spool.db-wal")) if each.exists())
            amounts["bytes of the spool's files"] = (size, self.disk.size + min(LARGEST_TRANSACTION, self.disk.size))
        for what, (amount, bound) in amounts.items():
            if not 0 <= amount <= bound:
                self.ledger.beyond.setdefault(what, (CLOCKS.now, amount, bound))

    # --- setup ---

    def _build(self) -> None:
        setup = self.plan.setup
        self.folder.resolv_conf.write_text(f"nameserver {ADDRESS}\n")
        self.folder.hosts.write_text("127.0.0.1 localhost\n")
        self._write_routes(self.config)
        self.folder.ca_file.write_bytes(_pem("old"))
        for at, (upstream, centres) in enumerate(setup["centres"].items()):
            for number, centre in enumerate(centres):
                name = f"{upstream}/{centre}"
                gate = self.gates[name] = Gate(self.loop, self.ledger, upstream, name, str(self.plan.seed))
                gate.life, gate.takes = lambda: len(self.lives), setup.get("takes", 0.0)
                gate.waits = lambda number: number in in_spool(self, "waiting")
                self.machines[name] = []
                addresses = [f"10.{at + 1}.{number + 1}.{each + 1}" for each in range(setup["addresses"])]
                for address in addresses:
                    self._add_machine(name, address)
                record = Record(addresses, setup["ttl"])
                self.names.records[rules.host(upstream, centre)] = record
        if many := setup.get("many"):
            self._add_many(many)

    def _add_machine(self, gate: str, address: str) -> Machine:
        weather = self.plan.setup["weather"]
        machine = Machine(
            self.gates[gate].accept,
            weather=Weather(weather["base"], weather["base"], weather["loss"], weather["small"]),
        )
        machine.authority = ssl.PEM_cert_to_DER_cert(_pem("old").decode())
        self.machines[gate].append(machine)
        self.network.machines[address, rules.PORT] = machine
        return machine

    def _add_many(self, many: dict[str, Any]) -> None:
        """Give a name many addresses, of which the lowest are dead."""
        record = self._record(many["gate"])
        record.addresses = [f"10.7.0.{number + 101}" for number in range(many["all"])]
        for number, address in enumerate(record.addresses):
            machine = self._add_machine(many["gate"], address)
            if number < many["dead"]:
                machine.door = "refuse"
                self.machines[many["gate"]].remove(machine)

    def _record(self, gate: str) -> Record:
        upstream, _, centre = gate.partition("/")
        return self.names.records[rules.host(upstream, centre)]

    def _write_routes(self, config: rules.Config | None, *, good: bool = True) -> None:
        self.texts.append((config, rules.as_yaml(config, str(self.folder.ca_file))))
        self.folder.routes.write_text(self.texts[-1][1])
        self.written.append(CLOCKS.now)
        if config is not None and good:
            self.configs.append((CLOCKS.now, config))

    def _start(self) -> None:
        if self.lives and self.sidecar.process.alive and self.sidecar.ended is None:
            return
        if len(self.lives) in self.folder.shared:
            self.folder.shared[len(self.lives) + 1] = self.folder.shared[len(self.lives)]
        self._begin_life()

    def _begin_life(self) -> None:
        self.lives.append(Sidecar(self.loop, self.network, self.folder, len(self.lives) + 1, self.disk, self.tell))
        self.producers.life = len(self.lives)
        self.tell("world", f"sidecar {len(self.lives)} starts")
        for name in self.gates:
            self._until_ended(f"{name}:unknown", self._record(name).mode)  # nobody tells it where that is
        self.sidecar.start(self.plan.setup)

    # --- acts ---

    def _do(self, act: Act) -> None:
        _DEEDS[act["do"]](self, act)

    def _disturb(self, what: str, how: str, begin: float, seconds: float) -> None:
        self.ledger.disturbed.append((begin, begin + seconds, what, how))

    def _until_ended(self, what: str, how: str) -> None:
        """Record that `what` is disturbed from now on; how "well" ends it."""
        now, disturbed = CLOCKS.now, self.ledger.disturbed
        for at, (begin, end, each, words) in enumerate(disturbed):
            if each == what and end > now and words != "network":
                disturbed[at] = (begin, now, each, words)
        if how not in ("well", "open", "right"):
            disturbed.append((now, float("inf"), what, how))

    def _post(self, act: Act) -> None:
        self.producers.post(act)

    def _gate(self, act: Act) -> None:
        mode = act["mode"]
        self.tell("world", f"{act['gate']} becomes {', '.join(f'{key} {value}' for key, value in mode.items())}")
        self.gates[act["gate"]].mode = mode
        self._until_ended(act["gate"], mode["mode"])

    def _door(self, act: Act) -> None:
        if act["gate"].endswith("*"):
            for name in self.gates:
                if name.startswith(act["gate"][:-1]):
                    self._door({**act, "gate": name})
            return
        self.tell("world", f"{act['gate']}: connections are {act['door']}")
        for machine in self.machines[act["gate"]]:
            machine.door = "silent" if act["door"] == "hole" else act["door"]
        for line in self.gates[act["gate"]].lines if act["door"] in ("hole", "refuse") else ():
            if act["door"] == "hole":
                line.end.weather.hole = True
            else:
                line.end.reset()
        self._until_ended(f"{act['gate']}:door", act["door"])

    def _dns(self, act: Act) -> None:
        self.tell("world", f"DNS says of {act['gate']}: {act['mode']}")
        self._record(act["gate"]).mode = act["mode"]
        self._until_ended(f"{act['gate']}:dns", act["mode"])
        if act["mode"] == "right":
            self._until_ended(f"{act['gate']}:unknown", "right")

    def _lose(self, act: Act) -> None:
        self.tell("world", f"the first packet of the next connection to {act['gate']} is lost")
        for machine in self.machines[act["gate"]]:
            machine.loses = 1
        self._disturb("packets", "lost", CLOCKS.now, 5.0)

    def _move(self, act: Act) -> None:
        record, old = self._record(act["gate"]), list(self.machines[act["gate"]])
        address, early = f"10.8.0.{len(self.network.machines)}", act.get("early", 0.0)
        self.tell("world", f"{act['gate']} moves to {address}{', its old machine dies' if act['dies'] else ''}")
        machine = self._add_machine(act["gate"], address)
        if early:  # DNS says so before anybody listens there
            machine.door = "refuse"
            self.machines[act["gate"]].remove(machine)
            self.loop.happens(early, None, self._ready, act["gate"], machine)
            if not self.ledger.quiet(f"{act['gate']}:unknown", CLOCKS.now - 1.0, CLOCKS.now + 1.0):
                self._disturb(f"{act['gate']}:not ready", "early", CLOCKS.now, early)  # it knows no other machine
        record.addresses = [address]
        if act["dies"]:
            for machine in old:
                machine.door = "silent"
                self.machines[act["gate"]].remove(machine)
            for line in self.gates[act["gate"]].lines:
                line.end.weather.hole = True
            self._disturb(act["gate"], "moved", CLOCKS.now, 90.0)

    def _ready(self, gate: str, machine: Machine) -> None:
        machine.door = "open"
        self.machines[gate].append(machine)

    def _still(self, act: Act) -> None:
        process = self.sidecar.process
        if process.alive and not process.still:
            self.tell("world", f"the sidecar gets no processor time for {act['seconds']} s")
            self._disturb("sidecar", "still", CLOCKS.now, act["seconds"])
            self.loop.freeze(process)
            self.loop.happens(act["seconds"], None, self.loop.thaw, process)

    def _clock(self, act: Act) -> None:
        self.tell("world", f"the wall clock is off by {act['step']:g} s")
        CLOCKS.step = act["step"]

    def _kill(self, act: Act) -> None:
        self._disturb("sidecar", "killed", CLOCKS.now, 5.0)
        self.sidecar.kill(act["step"])

    def _term(self, _: Act) -> None:
        if self.sidecar.ended is None:
            self.tell("world", "SIGTERM")
            self._disturb("sidecar", "stops", CLOCKS.now, 30.0)
            self.sidecar.signal(signal.SIGTERM)

    def _again(self, _: Act) -> None:
        if (
            self.sidecar.ended is None and self.sidecar.process.alive
        ):  # it is still stopping, or should have died in a job
            self.sidecar.kill()
        self._disturb("sidecar", "starts", CLOCKS.now, 3.0)
        self._start()

    def _become(self, act: Act) -> None:
        self.tell("world", f"the disk: {act['mode']}")
        self._until_ended("disk", act["mode"])
        self.disk.become(act["mode"])

    def _edit(self, act: Act) -> None:
        self.tell("world", f"routes.yaml is edited: {act['edit']}")
        self._disturb("routes", act["edit"], CLOCKS.now, 12.0)
        self._stays = act.get("stays", False)
        config = self.config if act["edit"] == "first" else rules.edited(self.config, act["edit"], act["number"])
        self._write_routes(config, good=rules.is_good(act["edit"]))

    def _reset(self, act: Act) -> None:
        for line in self.gates[act["gate"]].lines:
            line.end.weather.reset_after[act["ours"]] = act["after"]
        self._disturb(f"{act['gate']}:network", "network", CLOCKS.now, 10.0)

    def _weather(self, act: Act) -> None:
        self.tell("world", f"the network to {act['gate']} has a latency of {act['base']} s")
        for machine in self.machines[act["gate"]]:
            machine.weather.base = act["base"]
        self._disturb(f"{act['gate']}:network", "network", CLOCKS.now, self.plan.heal - CLOCKS.now)

    # --- rarer acts ---

    def _stranger(self, act: Act) -> None:
        end = self.network.visit(LISTEN)
        if end is not None:
            self.tell("stranger", f"sends {act['what']} to {act['target']} ({act['count']})")
            self.strangers.append(strangers.send(self.loop, self.ledger, end, act, len(self.lives)))

    def _authority(self, act: Act) -> None:
        self.tell("world", "the file of authorities has the new one, too")
        self.folder.ca_file.write_bytes(_pem("old") + _pem("new"))
        self.loop.happens(act["after"], None, self._change_authority)

    def _change_authority(self) -> None:
        self.tell("world", "all EventGates have certificates of the new authority")
        for name, machines in self.machines.items():
            for machine in machines:
                machine.authority = ssl.PEM_cert_to_DER_cert(_pem("new").decode())
            self.gates[name].cut_all()
            self._disturb(name, "authority", CLOCKS.now, 20.0)  # so that it reads the file

    def _damage(self, act: Act) -> None:
        folder = self.folder.spool(len(self.lives) + 1)
        if self.sidecar.ended is not None and (folder / "spool.db").exists():
            before = damage.held(folder)
            self.tell("world", f"the spool's file is damaged: {act['how']}")
            damage.do(folder / "spool.db", act["how"], act["place"], act["bit"])
            self.excused |= before - damage.readable(folder)

    def _overlap(self, _: Act) -> None:
        if self.sidecar.ended is None and self.sidecar.process.alive:
            now, shared = len(self.lives), self.folder.shared
            shared[now + 1] = shared.get(now, now)
            self._disturb("sidecar", "two", CLOCKS.now, 3.0)
            self._begin_life()

    def _end_old(self, _: Act) -> None:
        for life in self.lives[:-1]:
            if life.process.alive:
                self._disturb("sidecar", "two", CLOCKS.now - 5.0, 6.0)
                life.kill()

    def _unlink(self, act: Act) -> None:
        path = self.folder.spool(len(self.lives)) / act["name"]
        if path.exists() and self.sidecar.ended is None:
            self.tell("world", f"somebody removes {act['name']}")
            if act["name"] == "spool.db-wal":
                self.excused |= damage.held(path.parent)
                self._disturb("disk", "unlinked", CLOCKS.now, 5.0)
                self.excused |= {each.number for each in self.ledger.events.values() if not each.arrivals}
            path.unlink()

    def _operate(self, act: Act) -> None:
        alive = self.sidecar.process.alive and self.sidecar.ended is None
        folder = self.folder.spool(len(self.lives) + (not alive))
        if (folder / "spool.db").exists():
            command = self.operator.run(folder, act["command"], random.Random(f"{self.plan.seed}/{CLOCKS.now}"))
            self.tell("operator", command)
            self.excused |= self.operator.dropped.keys()

    def _heal(self) -> None:
        """End all troubles."""
        self.tell("world", "all is well from now on")
        for name, gate in self.gates.items():
            gate.mode = WELL
            self._until_ended(name, "well")
            self._door({"gate": name, "door": "open"})
            self._dns({"gate": name, "mode": "right"})
            for line in gate.lines:
                line.end.weather.reset_after.clear()
        self._become({"mode": "well"})
        if not self._stays and (self.configs[-1][1] is not self.config or self.plan.setup.get("edits")):
            self._write_routes(self.config)
        if not self.sidecar.process.alive or self.sidecar.ended is not None:
            self._again({})


_DEEDS: dict[str, Callable[[World, Act], None]] = {
    "post": World._post,
    "gate": World._gate,
    "door": World._door,
    "dns": World._dns,
    "lose": World._lose,
    "move": World._move,
    "still": World._still,
    "clock": World._clock,
    "kill": World._kill,
    "term": World._term,
    "start": World._again,
    "disk": World._become,
    "edit": World._edit,
    "reset": World._reset,
    "stranger": World._stranger,
    "authority": World._authority,
    "damage": World._damage,
    "overlap": World._overlap,
    "end of the old one": World._end_old,
    "unlink": World._unlink,
    "operate": World._operate,
    "weather": World._weather,
}


def _pem(name: str) -> bytes:
    return (AUTHORITIES / f"{name}.pem").read_bytes()
