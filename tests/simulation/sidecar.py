"""Starts the real sidecar in the world; only this module touches the running one."""

from __future__ import annotations

import functools
import logging
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.commands.diff import compare
from sidecar.errors import ConfigError, SettingError
from sidecar.eventgate.client import MAX_CONNECTIONS
from sidecar.intake.budget import ByteBudget
from sidecar.intake.endpoint import MAX_REQUESTS
from sidecar.routes.explain import explanation
from sidecar.routes.inspection import inspect
from sidecar.routes.samples import event_of
from sidecar.serve.runtime import Outside, Runtime, Settings
from sidecar.spool.lifecycle import Spooling
from sidecar.spool.policy import MAX_BATCHES, MAX_EVENTS, MAX_POSTS
from sidecar.spool.record import Quota, Totals
from sidecar.spool.store import MAX_WAITING_BYTES
from sidecar.upstreams.addresses import MAX_ADDRESSES
from sidecar.upstreams.resolver import Resolver
from tests.simulation.disk import Disk, SimHand
from tests.simulation.loop import Process, SimLoop
from tests.simulation.machines import Network, SimSocket
from tests.simulation.network import Place

if TYPE_CHECKING:
    from sidecar.telemetry.telemetry import Telemetry

MAX_TASKS = 120
LABELS = {"env": "staging"}
SCHEMA = "/sim/event/1.0.0"
LISTEN: Place = ("127.0.0.1", 8888)
Tell = Callable[[str, str], None]
"""Called with the speaker and the text of a line."""


class Folder:
    """The files of a world."""

    def __init__(self, path: Path) -> None:
        """They are in the directory `path`, with the same names in every run."""
        self.path = path
        self.routes = path / "routes.yaml"
        self.last_good = path / "last-good.yaml"
        self.resolv_conf = path / "resolv.conf"
        self.hosts = path / "hosts"
        self.ca_file = path / "ca.pem"
        self.shared: dict[int, int] = {}
        """For a life that shares the directory of an earlier one: the number of that one."""

    def spool(self, life: int) -> Path:
        """Return the spool's directory in a life; after a kill the next life has a copy."""
        return self.path / f"spool-{self.shared.get(life, life)}"


class Sidecar:
    """One life of `serve`."""

    name = "sidecar"
    """Its name in the story."""

    def __init__(self, loop: SimLoop, network: Network, folder: Folder, life: int, disk: Disk, tell: Tell) -> None:
        """Prepare it, without starting it."""
        self.loop, self.network, self.folder, self.life, self.disk = loop, network, folder, life, disk
        self.process = Process(f"{self.name} {life}")
        self.runtime: Runtime | None = None
        self.ended: str | None = None
        """How it ended; None while it runs."""
        self.keeps_disk = True
        """Whether the next life gets its files."""
        self._tell = tell
        self._dies_in_job = 0

    def start(self, setup: dict[str, Any]) -> None:
        """Run `serve`."""
        self.process.context.run(self._start, setup)

    def settings(self, setup: dict[str, Any]) -> Settings:
        """Return its settings."""
        folder = self.folder
        return Settings(
            routes=folder.routes,
            listen="127.0.0.1:8888",
            admin="0.0.0.0:9102",
            labels=LABELS,
            drain=8.0,
            quiet=2.0,
            spool=folder.spool(self.life) if setup["spool"] else None,
            last_good=folder.last_good if setup.get("edits") else None,
            hand_over=setup.get("gateway", ""),
        )

    def _start(self, setup: dict[str, Any]) -> None:
        folder = self.folder
        outside = Outside(
            bind=self._bind,  # type: ignore[arg-type]
            resolver=lambda: Resolver(folder.resolv_conf, folder.hosts),
            spooling=self._spooling,
            log=self._log,
        )
        try:
            self.runtime = Runtime(self.settings(setup), outside)
        except (SettingError, ConfigError) as error:
            self.ended = f"does not start: {error}"
            return
        self.loop.create_task(self.runtime.run()).add_done_callback(self._note_end)

    def _note_end(self, task: Any) -> None:
        error = None if task.cancelled() else task.exception()
        self.ended = "ended" if error is None else f"crashed: {error!r}"
        self._tell(self.name, self.ended)
        self.process.alive = False
        self.network.bury(self.process)
        self._hand_over()

    def _bind(self, address: str) -> SimSocket:
        host, _, port = address.rpartition(":")
        return SimSocket((host, int(port)))

    def _spooling(self, directory: Path, telemetry: Telemetry) -> Spooling:
        self._hand = SimHand(self.loop, self.process, self.disk, self._job)
        return Spooling(directory, telemetry, Quota(size=self.disk.size), self._hand)

    def _log(self) -> logging.Logger:
        log = logging.Logger("simulated", logging.INFO)  # noqa: LOG001  each life has its own
        log.addHandler(_Handler(functools.partial(self._tell, self.name), str(self.folder.path)))
        return log

    def held(self) -> dict[str, int]:
        """Return the amounts that must be zero when it is at rest."""
        if self.runtime is None or not self.process.alive:
            return {"lives": 1}
        events, generation = self.runtime._events, self.runtime._generation
        held = {
            "requests in flight": events.in_flight,
            "bytes in flight": events.bytes_in_flight,
            "uncaught tasks": max(0, sum(not task.done() for task in self.process.tasks) - MAX_TASKS),
        }
        if generation._mirror is not None:
            held |= {"copies": generation._mirror._copies, "bytes of copies": generation._mirror._bytes}
        for name, pool in generation.pools.items():
            held[f"deliveries of {name}"] = pool.budget.in_flight
            held[f"second attempts of {name}"] = pool.budget.second_attempts
            for address in pool.addresses:
                where = f"{name}/{address.endpoint.name} {address.ip}"
                held[f"trials of {where}"] = int(address.on_trial)
                held[f"connections in use of {where}"] = address.eventgate._in_use
                held[f"waiting POSTs of {where}"] = len(address.eventgate._waiting)
        return held

    def amounts(self) -> dict[str, tuple[float, float]]:
        """Return amounts that it holds, each with its bound (docs/limits.md)."""
        if self.runtime is None or not self.process.alive:
            return {}
        events, pools = self.runtime._events, self.runtime._generation.pools
        found: dict[str, tuple[float, float]] = {
            "requests in flight": (events.in_flight, MAX_REQUESTS),
            "bytes in flight": (events.bytes_in_flight, ByteBudget().size),
        }
        for name, pool in pools.items():
            found[f"second attempts of {name}"] = (pool.budget.second_attempts, MAX_REQUESTS)
            found[f"deliveries of {name}"] = (pool.budget.in_flight, MAX_REQUESTS + MAX_POSTS + 2 * MAX_BATCHES)
            found[f"addresses of {name}"] = (len(pool.addresses), 2 * MAX_ADDRESSES * len(pool.endpoints))
            for each in pool.addresses:
                connections = f"connections of {name}/{each.endpoint.name} {each.ip}"
                found[connections] = (each.eventgate._in_use, MAX_CONNECTIONS)
        if self.runtime._spooling is not None:
            spool = self.runtime._spooling._spool
            found["bytes that wait for the disk"] = (spool._commits.waiting_size, MAX_WAITING_BYTES)
            found["events handed out"] = (len(spool._in_flight), 2 * len(pools) * MAX_BATCHES * MAX_EVENTS)
        return found

    def spooled(self) -> Totals | None:
        """Return what it says is in its spool; None while it cannot say, or is about to."""
        if self.runtime is None or not self.process.alive or self.runtime._spooling is None or self._hand.busy:
            return None
        state = self.runtime._spooling._spool.state
        return None if state.trouble else state.totals

    def counted(self) -> int:
        """Return the number of ended events in its metrics."""
        return 0 if self.runtime is None else self.runtime.telemetry.counts.ended.total()

    def dropped_dead_letters(self) -> float:
        """Return how many dead letters its metrics say it has dropped."""
        name = "eventgate_sidecar_spool_dropped_dead_letters_total"
        return 0.0 if self.runtime is None else self.runtime.telemetry.registry.get_sample_value(name) or 0.0

    def explained(self, stream: str) -> tuple[str, str] | None:
        """Return the upstream and name that its `explain` gives for an event of a stream; None: refused."""
        if self.runtime is None:
            return None
        found = explanation(self.runtime._generation.router, event_of(stream, SCHEMA))
        return (found["upstream"], found["sent_as"]) if found["upstream"] and found["sent_as"] else None

    # --- its end ---

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        told = self.process.signals.get(number)
        if told is None:
            self.kill()
        else:
            self.loop.happens(0.0, self.process, told)

    def kill(self, step: int = 0) -> None:
        """Kill it: now, or in its thread's next job after this many steps."""
        if step and self.process.alive:
            self._dies_in_job = step
        else:
            self._die()

    def _die(self) -> None:
        if not self.process.alive:
            return
        self._hand_over()
        self._be_dead()

    def _be_dead(self) -> None:
        self.process.alive = False
        self.ended = "killed"
        self._tell(self.name, "is killed")
        self.network.bury(self.process)

    def _hand_over(self) -> None:
        """Leave the files to the next life as a dead process would: without locks."""
        if self.life in self.folder.shared or self.life in self.folder.shared.values():
            self._let_go()
            return
        mine, next_ones = self.folder.spool(self.life), self.folder.spool(self.life + 1)
        if self.keeps_disk and mine.exists() and not next_ones.exists():
            shutil.copytree(mine, next_ones, ignore=shutil.ignore_patterns("*-shm", "lock"))

    def _let_go(self) -> None:
        """Close the files if another life uses them: the kernel would release the locks."""
        if self.runtime is not None and self.runtime._spooling is not None:
            self.runtime._spooling._spool._commits._directory.close()

    def _job(self, work: Callable[[], Any]) -> Any:
        """Run a job of the thread; if it must die meanwhile, keep the files of that moment."""
        if not self._dies_in_job:
            return work()
        left = self._dies_in_job

        def watch(_frame: object, _event: str, _argument: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                sys.setprofile(None)
                self._hand_over()

        sys.setprofile(watch)
        try:
            return work()
        finally:
            sys.setprofile(None)
            if left > 0:
                self._hand_over()
            self._let_go()  # again: the rest of the job may have opened what a dead process would not have
            self._be_dead()


def passes_check(text: str) -> bool:
    """Whether `check` accepts a routes.yaml."""
    return not inspect(text, "routes.yaml", LABELS).problems


def changed_by(old: str, new: str, streams: Iterable[str]) -> set[str]:
    """Return which of these streams a new routes.yaml sends elsewhere, according to `diff`."""
    before, after = (inspect(text, "routes.yaml", LABELS).approved for text in (old, new))
    found = compare(before, after, [event_of(stream, SCHEMA) for stream in streams])
    return {change.event.stream or "" for change in found.changes} & set(streams)


class _Handler(logging.Handler):
    """Adds the sidecar's log lines to the story."""

    def __init__(self, tell: Callable[[str], None], folder: str) -> None:
        super().__init__()
        self._tell, self._folder = tell, folder

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage().replace(self._folder, "…"))
