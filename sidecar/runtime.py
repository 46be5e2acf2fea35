"""Builds every long-lived part once, runs them in one task group, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import random
import resource
import signal
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.app import EventsEndpoint, make_admin_app, make_intake_app
from sidecar.coalescer import Coalescer
from sidecar.config import Config
from sidecar.delivery import Delivery
from sidecar.endpoints import make_pools
from sidecar.errors import SettingError
from sidecar.healthcheck import check
from sidecar.intake import Intake
from sidecar.monitor import Monitor
from sidecar.resolver import Resolver
from sidecar.routesfile import approved_config
from sidecar.routing import Router
from sidecar.samples import streams_named_by
from sidecar.server import bind, make_server
from sidecar.spool import PUT_SECONDS
from sidecar.spooling import Spooling
from sidecar.telemetry import ConfigLoaded, Listening, Stopped, Stopping, Telemetry, let_libraries_log, make_log


@dataclass(frozen=True)
class Settings:
    """What `serve` is told by flags and environment."""

    routes: Path
    listen: str = "127.0.0.1:8888"
    admin: str = "0.0.0.0:9102"
    labels: Mapping[str, str] = field(default_factory=dict)
    drain: float = 25.0
    """Seconds for which requests are still taken after SIGTERM, at most."""
    quiet: float = 10.0
    """After SIGTERM it ends once no request came for so many seconds: a draining model server still posts."""
    spool: Path | None = None
    """Directory of the spool; None: there is none."""
    prints_what_is_left: bool = False
    """Whether what is left in the spool is written to standard output at the end."""


class Runtime:
    """A running sidecar."""

    def __init__(self, settings: Settings) -> None:
        """Read the configuration and listen; nothing is answered yet.

        Raises:
            SettingError: a flag, an address or a file of them cannot be used.
            ConfigError: `routes.yaml` is wrong.

        """
        self._settings = settings
        config = approved_config(settings.routes)
        router = Router(config, settings.labels)
        for route, label in router.missing_labels:
            raise SettingError(
                f"route {route.name} takes a word from label {label}, which this pod does not have; "
                f"give it with --label {label}=…"
            )
        if settings.spool is None:
            _need_no_spool(config)
        self.telemetry = Telemetry(set(streams_named_by(config)), make_log())
        pools = make_pools(config.upstreams)
        self._monitor = Monitor(pools.values(), Resolver().look_up, check, self.telemetry, random.random)
        reserve = PUT_SECONDS if settings.spool else 0.0
        self._delivery = Delivery(pools, self.telemetry, random.random, reserve=reserve)
        self._coalescer = Coalescer(
            self._delivery, {name: each.coalesce for name, each in config.upstreams.items()}, self.telemetry
        )
        self._spooling: Spooling | None = None
        if settings.spool is not None:
            self._spooling = Spooling(settings.spool, pools, self._coalescer, self.telemetry)
        deliver = self._spooling.deliver if self._spooling else self._coalescer.deliver
        intake = Intake(router, deliver, self.telemetry, lambda: str(uuid.uuid4()))
        self._events = EventsEndpoint(intake, self.telemetry)
        longest = max(upstream.timeouts.deadline for upstream in config.upstreams.values())
        self._ready = False
        servers = [
            make_server(make_intake_app(), longest + 0.5, taker=self._events),
            make_server(make_admin_app(self.telemetry, lambda: self._ready), longest + 0.5),
        ]
        self._servers = list(zip(servers, _bind_all(settings.listen, settings.admin), strict=True))
        labels = ",".join(f"{name}={value}" for name, value in settings.labels.items())
        self.telemetry.emit(ConfigLoaded(str(settings.routes), len(config.routes), len(config.upstreams), labels))

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        SIGTERM: requests are still taken until there was none for `quiet` seconds, at most for the drain
        time. SIGINT, or a second signal: those under way are finished, and that is all.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[signal.Signals] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, functools.partial(told.put_nowait, number))
        try:
            async with asyncio.TaskGroup() as tasks:
                self._delivery.start(tasks)
                watching = tasks.create_task(self._monitor.run())
                if self._spooling:
                    await self._spooling.start(tasks)
                serving = [tasks.create_task(server.serve(sockets=[listening])) for server, listening in self._servers]
                self.telemetry.emit(Listening(*(_address(listening) for _, listening in self._servers)))
                tasks.create_task(self._become_ready())
                await self._stop_when(told)
                await asyncio.wait(serving)
                if self._spooling:
                    await self._spooling.end(prints=self._settings.prints_what_is_left)
                watching.cancel()
        finally:
            self._delivery.close()
            self.telemetry.emit(Stopped(self._events.in_flight))

    async def _become_ready(self) -> None:
        await self._monitor.ready()
        self._ready = True

    async def _stop_when(self, told: asyncio.Queue[signal.Signals]) -> None:
        number = await told.get()
        drain = self._settings.drain if number == signal.SIGTERM else 0.0
        self.telemetry.emit(Stopping(number.name, drain))
        if drain:
            try:
                async with asyncio.timeout(drain):
                    await self._quiet_or(told)
                    if self._spooling and told.empty():
                        await self._empty_or(told, self._spooling)
            except TimeoutError:
                pass
        for server, _ in self._servers:
            server.should_exit = True

    async def _empty_or(self, told: asyncio.Queue[signal.Signals], spooling: Spooling) -> None:
        """Wait until the spool is empty, or a second signal came."""
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(spooling.empty()), tasks.create_task(told.get())]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()

    async def _quiet_or(self, told: asyncio.Queue[signal.Signals]) -> None:
        """Wait until nothing came for `quiet` seconds, or a second signal did."""
        clock = time.monotonic
        begun, quiet = clock(), self._settings.quiet
        while (left := max(begun, self._events.last_active) + quiet - clock()) > 0 or self._events.in_flight:
            try:
                async with asyncio.timeout(max(left, 0.1)):
                    await told.get()
                    return
            except TimeoutError:
                continue


def _need_no_spool(config: Config) -> None:
    """Raise SettingError where the configuration asks for what only a spool can do."""
    wants = [f"route {each.name} has acknowledge: spooled" for each in config.routes if each.acknowledge == "spooled"]
    wants += [f"route {each.name} has order_by" for each in config.routes if each.order_by]
    wants += [
        f"upstream {name} has on_ambiguous: spool"
        for name, each in config.upstreams.items()
        if each.on_ambiguous == "spool"
    ]
    for want in wants:
        raise SettingError(f"{want}, and there is no spool; give it a directory with --spool DIR")


def _bind_all(*addresses: str) -> list[socket.socket]:
    """Listen on every address or on none."""
    listening: list[socket.socket] = []
    try:
        for address in addresses:
            listening.append(bind(address))  # noqa: PERF401  what was had is given back if the next cannot be
    except SettingError:
        for each in listening:
            each.close()
        raise
    return listening


def prepare_process() -> None:
    """Set up what belongs to the process and not to one `Runtime`: its log, its memory, and how many files it may open.

    Every request in flight needs a file or two; the usual soft limit of 1,024 is for programs that use select().
    """
    let_libraries_log()
    # What is there now stays for good, and what a request makes is freed without the collector's help.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{host}:{port}"
