"""Builds every long-lived part once, runs them in one task group, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import logging
import math
import random
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import Route

from sidecar.errors import SettingError
from sidecar.eventgate.gateway import Gateway
from sidecar.eventgate.healthcheck import check
from sidecar.intake.budget import ByteBudget, GatewayBudget
from sidecar.intake.endpoint import EventsEndpoint
from sidecar.intake.origins import Origins
from sidecar.intake.server import bind, limits_here, make_server, serve_by
from sidecar.routes.language.config import Config
from sidecar.routes.samples import streams_named_by
from sidecar.serve.generation import Generation
from sidecar.serve.reload import Loaded, Reloader, begin
from sidecar.status.cluster import LIMITS, Cluster
from sidecar.status.gather import InForce, Sources
from sidecar.status.http import (
    LIVE_SECONDS,
    MAX_PAGES,
    MAX_TAPS,
    TAP_SECONDS,
    inquiry_routes,
    make_intake_app,
    openapi_route,
    status_routes,
    tap_route,
)
from sidecar.status.probe import Prober
from sidecar.status.sse import Feeds
from sidecar.telemetry.contained import keep_running
from sidecar.telemetry.happenings import ConfigLoaded, Listening, Stopped, Stopping
from sidecar.telemetry.history import History
from sidecar.telemetry.log import let_libraries_log, make_log
from sidecar.telemetry.telemetry import Telemetry
from sidecar.telemetry.vitals import Vitals
from sidecar.upstreams.addresses import DnsAnswer, Found
from sidecar.upstreams.monitor import Monitor
from sidecar.upstreams.resolver import Resolver

if TYPE_CHECKING:
    from sidecar.intake.tap import Tap
    from sidecar.serve.spanexport import SpanExport
    from sidecar.serve.tracing import Tracing
    from sidecar.spool.lifecycle import Spooling

M_MMAP_THRESHOLD = -3
"""See mallopt(3): freed blocks above the threshold are returned to the system. By default glibc raises the threshold
after a body of some MB, keeps such blocks and fragments them."""


@dataclass(frozen=True)
class Settings:
    """The settings of `serve`, from flags and environment."""

    routes: Path
    listen: str = "127.0.0.1:8888"
    admin: str = "0.0.0.0:9102"
    labels: Mapping[str, str] = field(default_factory=dict)
    drain: float = 25.0
    """Maximum seconds for which requests are still taken after SIGTERM."""
    quiet: float = 10.0
    """After SIGTERM it ends once no request has come for this many seconds: a draining model server still posts."""
    spool: Path | None = None
    """Directory of the spool; None: no spool."""
    prints_what_is_left: bool = False
    """Whether events left in the spool are printed at the end."""
    last_good: Path | None = None
    """Where the last good configuration is saved."""
    traces: str = ""
    """The variable that turns traces on; empty: no traces."""
    tap: bool = False
    """Whether `tap` may show passing events."""
    hand_over: str = ""
    """URL of the gateway that gets the events left in the spool at the end; empty: none."""
    gateway: bool = False
    """Whether it serves other pods."""
    hand_over_from: str = ""
    """Networks from which a gateway takes spools, and believes the labels that come with them."""


def _spooling(directory: Path, telemetry: Telemetry) -> Spooling:
    from sidecar.spool.lifecycle import Spooling  # noqa: PLC0415  SQLite is only loaded if there is a spool

    return Spooling(directory, telemetry)


@dataclass(frozen=True, slots=True)
class Outside:
    """The interfaces of a sidecar to its environment, replaced in the simulation."""

    bind: Callable[[str], socket.socket] = bind
    resolver: Callable[[], Resolver] = Resolver
    spooling: Callable[[Path, Telemetry], Spooling] = _spooling
    log: Callable[[], logging.Logger] = make_log


class Runtime:
    """A running sidecar."""

    def __init__(self, settings: Settings, outside: Outside | None = None) -> None:
        """Read the configuration and bind the sockets, without answering yet.

        Raises:
            SettingError: a flag, an address or a file cannot be used.
            ConfigError: `routes.yaml` is wrong.

        """
        self._settings = settings
        origins = Origins(settings.hand_over_from)
        outside = outside or Outside()
        self._export = _start_export(settings) if settings.traces else None
        self.telemetry = Telemetry((), outside.log())
        self._tracing = _tracing(self._export, self.telemetry) if self._export else None
        self._history = History()
        self.telemetry.observer = self._history.observe
        self._spooling = outside.spooling(settings.spool, self.telemetry) if settings.spool is not None else None
        self._tap = _tap() if settings.tap else None
        beginning, self._generation = begin(settings.routes, settings.last_good, settings.labels, self._new_generation)
        resolver = outside.resolver()
        self._monitor = Monitor(self._generation.pools.values(), resolver.look_up, check, self.telemetry, random.random)
        self._prober = Prober(lambda: self._generation.pools, resolver.look_up, check)
        self._reloader = Reloader(
            settings.routes, settings.last_good, settings.labels, beginning, self._apply, self.telemetry
        )
        follow = self._tracing.request if self._tracing else None
        budget = GatewayBudget() if settings.gateway else ByteBudget()
        taking = (origins, self._spooling.taking) if settings.gateway and self._spooling else None
        self._events = EventsEndpoint(self._generation.intake, self.telemetry, budget, follow, taking=taking)
        if settings.hand_over and self._spooling:
            look_up = functools.partial(_addresses, resolver.look_up)
            self._spooling.hand_over_to(Gateway(settings.hand_over, settings.labels), look_up)
        self._vitals = Vitals(self.telemetry.registry, self._endpoints, self._events)
        self._ready = False
        self._pages, self._taps = Feeds(MAX_PAGES, LIVE_SECONDS), Feeds(MAX_TAPS, TAP_SECONDS)
        cluster = Cluster(self.telemetry, lambda: self._ready, budget, limits_here(LIMITS, of=4))
        servers = [
            make_server(make_intake_app(self._inquiries()), self._events, budget, self._generation.longest),
            serve_by(cluster.connection, self._generation.longest),
        ]
        self._servers = list(zip(servers, _bind_all(outside.bind, settings.listen, settings.admin), strict=True))
        self._tasks: asyncio.TaskGroup | None = None
        self._in_force(beginning.loaded)

    def _new_generation(self, config: Config, before: Generation | None = None) -> Generation:
        return Generation(
            config, self._settings.labels, self.telemetry, before, self._spooling, self._tap, self._tracing
        )

    def _inquiries(self) -> list[Route]:
        sources = Sources(
            in_force=self._now_in_force,
            configuration=self._reloader.as_data,
            spool=lambda: self._spooling.state if self._spooling else None,
            counts=self.telemetry.counts,
            history=self._history,
            pod=socket.gethostname(),
        )
        return [
            *inquiry_routes(sources, self._prober),
            *status_routes(sources, self._pages),
            tap_route(self._tap, self._taps),
            openapi_route(),
        ]

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        After SIGTERM requests are taken until there was none for `quiet` seconds, at most for the drain time. After
        SIGINT or a second signal only requests in flight are finished.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[signal.Signals] = asyncio.Queue(2)  # more than two signals make no difference
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, functools.partial(_tell, told, number))
        loop.add_signal_handler(signal.SIGHUP, self._reloader.now)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._generation.start(tasks)
                watching = [tasks.create_task(self._monitor.run()), self._keep_running("vitals", self._vitals.run)]
                if self._spooling:
                    self._generation.use_spool()
                    await self._spooling.start(tasks)
                watching.append(self._keep_running("reload", self._follow_file))
                remember = functools.partial(self._history.run, self.telemetry.counts)
                watching.append(self._keep_running("history", remember))
                serving = [tasks.create_task(server.serve(sockets=[listening])) for server, listening in self._servers]
                self.telemetry.emit(Listening(*(_address(listening) for _, listening in self._servers)))
                tasks.create_task(self._become_ready())
                until = await self._stop_when(told)
                await asyncio.wait(serving)
                self._generation.end_copies()
                if self._spooling:
                    await self._spooling.end(prints=self._settings.prints_what_is_left, until=until)
                for each in watching:
                    each.cancel()
        finally:
            self._monitor.close()
            self.telemetry.emit(Stopped(self._events.in_flight))
            if self._export:
                await self._export.end()

    def _keep_running(self, what: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        assert self._tasks is not None  # noqa: S101
        return self._tasks.create_task(keep_running(what, run, self.telemetry.emit))

    async def _follow_file(self) -> None:
        await self._monitor.ready()  # only then is the configuration saved as the last good one
        await self._reloader.run()

    async def _apply(self, loaded: Loaded) -> None:
        """Put a configuration in force for new requests; requests in flight end under the previous one.

        Raises:
            SettingError: a file that it names cannot be read; nothing was changed.

        """
        if self._tasks is None:
            raise RuntimeError("a configuration is applied while the sidecar runs")
        before = self._generation
        after = self._new_generation(loaded.config, before)
        after.start(self._tasks)
        new = after.pools_not_in(before)
        for pool in new:
            self._monitor.watch(pool)
        await asyncio.gather(*(pool.first_round() for pool in new))  # so that no event has to wait for it
        self._events.intake = after.intake
        self._generation = after
        before.replaced()
        after.use_spool()
        for pool in before.pools_not_in(after):
            self._monitor.forget(pool, before.longest)
        self._in_force(loaded)

    def _in_force(self, loaded: Loaded) -> None:
        config, labels = loaded.config, self._settings.labels
        endpoints = [(pool.name, end.name) for pool in self._generation.pools.values() for end in pool.endpoints]
        self.telemetry.know(streams_named_by(config), (route.name for route in config.routes), endpoints)
        for server, _ in self._servers:
            server.config.timeout_graceful_shutdown = math.ceil(self._generation.longest)
        words = ",".join(f"{name}={value}" for name, value in labels.items())
        self.telemetry.emit(ConfigLoaded(loaded.file, len(config.routes), len(config.upstreams), words, loaded.digest))

    def _now_in_force(self) -> InForce:
        now = self._generation
        return InForce(now.config, now.router, now.pools, takes_hand_overs=bool(self._settings.hand_over_from))

    def _endpoints(self) -> Iterator[tuple[str, str, bool, bool]]:
        events_go_to = self._now_in_force().events_go_to
        for pool in self._generation.pools.values():
            for endpoint in pool.endpoints if pool.name in events_go_to else ():
                yield pool.name, endpoint.name, pool.may_get_events(endpoint), bool(endpoint.known.problem)

    async def _become_ready(self) -> None:
        await self._monitor.ready()
        self._ready = True

    async def _stop_when(self, told: asyncio.Queue[signal.Signals]) -> float:
        """Return the deadline for sending, in the loop's time; 0 if nothing is to be sent any more."""
        number = await told.get()
        drain = self._settings.drain if number == signal.SIGTERM else 0.0
        until = asyncio.get_running_loop().time() + drain if drain else 0.0
        self.telemetry.emit(Stopping(number.name, drain))
        if drain:
            spared = 0.0
            if self._spooling:
                self._spooling.leave()
                spared = min(self._spooling.end_seconds, drain / 2)
            try:
                async with asyncio.timeout(drain - spared):
                    hurried = not await self._quiet_or(told)
                    if self._spooling and not hurried:
                        hurried = not await self._empty_or(told, self._spooling)
                    until = 0.0 if hurried else until
            except TimeoutError:
                pass
        for feeds in (self._pages, self._taps):
            feeds.end()
        for server, _ in self._servers:
            server.stop()
        return until

    async def _empty_or(self, told: asyncio.Queue[signal.Signals], spooling: Spooling) -> bool:
        """Return True when the spool is empty, False on a second signal."""
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(spooling.empty()), tasks.create_task(told.get())]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            empty = waiting[0].done()
            for each in waiting:
                each.cancel()
        return empty

    async def _quiet_or(self, told: asyncio.Queue[signal.Signals]) -> bool:
        """Return True when no request has come for `quiet` seconds, False on a second signal."""
        clock = time.monotonic
        begun, quiet = clock(), self._settings.quiet
        while (left := max(begun, self._events.last_active) + quiet - clock()) > 0 or self._events.in_flight:
            try:
                async with asyncio.timeout(max(left, 0.1)):
                    await told.get()
                    return False
            except TimeoutError:
                continue
        return True


async def _addresses(look_up: Callable[[str], Awaitable[DnsAnswer]], host: str) -> tuple[str, ...] | str:
    found = await look_up(host)
    return found.addresses if isinstance(found, Found) else found.reason


def _start_export(settings: Settings) -> SpanExport:
    """Create the span export; OpenTelemetry is only imported here."""
    try:
        from sidecar.serve.spanexport import SpanExport  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise SettingError(
            f"{settings.traces} asks for traces, and the packages for them are not installed: "
            "pip install 'eventgate-sidecar[otel]', or set OTEL_TRACES_EXPORTER=none"
        ) from None
    return SpanExport(settings.labels)


def _tracing(export: SpanExport, telemetry: Telemetry) -> Tracing:
    from sidecar.serve.tracing import Tracing  # noqa: PLC0415  as above

    export.count_in(telemetry.registry)
    return Tracing(export.tracer, telemetry.emit)


def _tell(told: asyncio.Queue[signal.Signals], number: signal.Signals) -> None:
    with contextlib.suppress(asyncio.QueueFull):
        told.put_nowait(number)


def _tap() -> Tap:
    from sidecar.intake.tap import Tap  # noqa: PLC0415  only loaded if it is enabled

    return Tap(time.time)


def _bind_all(bind: Callable[[str], socket.socket], *addresses: str) -> list[socket.socket]:
    """Listen on every address or on none."""
    listening: list[socket.socket] = []
    try:
        for address in addresses:
            listening.append(bind(address))  # noqa: PERF401  the sockets so far are closed if the next one fails
    except SettingError:
        for each in listening:
            each.close()
        raise
    return listening


def prepare_process() -> None:
    """Set up the process: libraries' log lines, garbage collection, malloc, and the limit of open files.

    Every request in flight needs a file or two; the usual soft limit of 1,024 is for programs that use select().
    """
    let_libraries_log()
    # What exists now stays for good, and a request's objects are freed without the collector.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 256 * 1024)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{host}:{port}"
