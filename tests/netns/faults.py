"""What goes wrong: each an asynchronous context that breaks something and mends it at its end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from tests.netns import needs
from tests.netns.datacenter import Relay, relay
from tests.netns.lab import Lab
from tests.netns.nameserver import CNAMES, WORKERS
from tests.netns.network import HOSTS, SWITCH

Fault = Callable[[Lab], AbstractAsyncContextManager[object]]
SLOW_SECONDS = 3.0
NO_IPV4 = "2001:db8::1"
"""The address of a name that has no other (RFC 3849)."""


@contextlib.asynccontextmanager
async def nothing(_: Lab) -> AsyncIterator[None]:
    """All is well."""
    yield


@contextlib.asynccontextmanager
async def _dropping(lab: Lab, host: str, which: str = "") -> AsyncIterator[None]:
    """Let the switch drop IP packets from and to a host; nobody is told, and connections stay as they are."""
    table = f"bridge lossy_{host}"
    chain = f"{table} c {{ type filter hook forward priority 0; }}"
    ways = ("iifname", "oifname")
    rules = [f'add rule {table} c {way} "{host}" ether type ip {which} drop' for way in ways]
    await lab.network.inside(SWITCH, "nft", "; ".join([f"add table {table}", f"add chain {chain}", *rules]))
    try:
        yield
    finally:
        await lab.network.inside(SWITCH, "nft", f"delete table {table}")


@contextlib.asynccontextmanager
async def _emulated(lab: Lab, mode: str, seconds: float = 1.0) -> AsyncIterator[None]:
    """Let the emulator in eqiad fail in one of its own ways."""
    await lab.eventgates["eqiad"].fault(mode, seconds)
    try:
        yield
    finally:
        await lab.eventgates["eqiad"].fault("none")


def kafka_down(lab: Lab) -> AbstractAsyncContextManager[None]:
    """EventGate in eqiad is well, and has an error with every event."""
    return _emulated(lab, "kafka")


def unrouted(lab: Lab) -> AbstractAsyncContextManager[None]:
    """A proxy before EventGate in eqiad answers every POST 404; health checks pass."""
    return _emulated(lab, "unrouted")


def blackholed(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Packets from and to eqiad vanish, those of established connections too."""
    return _dropping(lab, "eqiad")


def lossy(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Of all packets from and to eqiad, three in ten vanish."""
    return _dropping(lab, "eqiad", "numgen random mod 100 < 30")


@contextlib.asynccontextmanager
async def all_gone(lab: Lab) -> AsyncIterator[None]:
    """Packets from and to both datacenters vanish."""
    async with _dropping(lab, "eqiad"), _dropping(lab, "codfw"):
        yield


@contextlib.asynccontextmanager
async def frozen(lab: Lab) -> AsyncIterator[None]:
    """The process in eqiad is stopped: the kernel still accepts connections, nobody reads them."""
    lab.eventgates["eqiad"].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        lab.eventgates["eqiad"].send_signal(signal.SIGCONT)


def refused(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Nothing listens in eqiad, and connections there are cut."""
    return _emulated(lab, "refuse")


def reset(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Connections to eqiad are reset in the middle of the answer."""
    return _emulated(lab, "reset")


def unavailable(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The answer in eqiad is 503 to everything."""
    return _emulated(lab, "unavailable")


def slow(lab: Lab) -> AbstractAsyncContextManager[None]:
    """EventGate in eqiad takes the event and answers 3 s later."""
    return _emulated(lab, "slow", SLOW_SECONDS)


def dripping(lab: Lab) -> AbstractAsyncContextManager[None]:
    """EventGate in eqiad takes the event and answers one byte a second."""
    return _emulated(lab, "drip")


def dns_silent(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Nobody answers DNS queries."""
    return _dropping(lab, "dns")


@contextlib.asynccontextmanager
async def dns_stopped(lab: Lab) -> AsyncIterator[None]:
    """The DNS server is stopped: its host says that the port is closed."""
    await lab.names.stop()
    try:
        yield
    finally:
        await lab.names.serve()


def no_such_name(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The name of eqiad is gone from DNS; the host is well."""
    return lab.names.instead({name: worker for name, worker in CNAMES.items() if "eqiad" not in name})


def no_such_names(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The names of both datacenters are gone from DNS; the hosts are well."""
    return lab.names.instead({})


def names_without_address(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The names of both datacenters are there without an IPv4 address; the hosts are well."""
    return lab.names.instead({}, {**WORKERS, **dict.fromkeys(CNAMES, (NO_IPV4,))})


def aliases_without_address(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The names of both datacenters are CNAMEs of names without an IPv4 address; the hosts are well."""
    return lab.names.instead(CNAMES, dict.fromkeys(WORKERS, (NO_IPV4,)))


@contextlib.asynccontextmanager
async def moved(lab: Lab) -> AsyncIterator[None]:
    """The worker that eqiad's name points to dies, and the name is pointed to another one."""
    moved_to = {**CNAMES, "staging.svc.eqiad.wmnet": "kubestage1004.eqiad.wmnet"}
    async with _dropping(lab, "eqiad"), lab.names.instead(moved_to):
        yield


def two_addresses(lab: Lab) -> AbstractAsyncContextManager[None]:
    """As a setting: eqiad's name leads to two addresses."""
    both = (*WORKERS["kubestage1003.eqiad.wmnet"], *WORKERS["kubestage1004.eqiad.wmnet"])
    return lab.names.instead(workers={**WORKERS, "kubestage1003.eqiad.wmnet": both})


def forty_addresses(lab: Lab) -> AbstractAsyncContextManager[None]:
    """As a setting: eqiad's name leads to forty addresses; nobody is at 38 of them, among these the 16 lowest."""
    alive = (*WORKERS["kubestage1003.eqiad.wmnet"], *WORKERS["kubestage1004.eqiad.wmnet"])
    forty = (*(f"198.18.0.{100 + n}" for n in range(16)), *alive, *(f"198.18.2.{100 + n}" for n in range(22)))
    return lab.names.instead(workers={**WORKERS, "kubestage1003.eqiad.wmnet": forty})


class Relayed:
    """Faults that a relay before eqiad plays; `setting` must be entered first."""

    def __init__(self) -> None:
        """Without a relay yet."""
        self._relay: Relay | None = None

    @contextlib.asynccontextmanager
    async def setting(self, lab: Lab) -> AsyncIterator[None]:
        """As a setting: eqiad's name leads to the relay."""
        workers = {**WORKERS, "kubestage1003.eqiad.wmnet": HOSTS["eqiad"][1:]}
        async with relay(lab.network, "eqiad", lab.folder) as self._relay, lab.names.instead(workers=workers):
            yield

    def told(self, words: str) -> Fault:
        """Return the fault that the relay plays when it is told so."""

        @contextlib.asynccontextmanager
        async def fault(_: Lab) -> AsyncIterator[None]:
            """The relay does as it is told."""
            assert self._relay is not None
            await self._relay.tell(words)
            try:
                yield
            finally:
                await self._relay.tell("pass")

        return fault


@contextlib.asynccontextmanager
async def _netem(lab: Lab) -> AsyncIterator[None]:
    device = ("dev", "eth0", "root", "netem")
    await lab.network.inside("eqiad", "tc", "qdisc", "add", *device, "delay", f"{SLOW_SECONDS * 1000:.0f}ms")
    try:
        yield
    finally:
        await lab.network.inside("eqiad", "tc", "qdisc", "del", *device[:3])


def late(through: Relayed) -> tuple[Fault, Fault]:
    """Return setting and fault: what eqiad sends arrives 3 s later, by netem where the kernel has it."""

    @contextlib.asynccontextmanager
    async def setting(lab: Lab) -> AsyncIterator[None]:
        """The relay, where it is needed."""
        async with nothing(lab) if needs.has_netem() else through.setting(lab):
            yield

    @contextlib.asynccontextmanager
    async def fault(lab: Lab) -> AsyncIterator[None]:
        """By the one or the other."""
        async with _netem(lab) if needs.has_netem() else through.told(f"late {SLOW_SECONDS:g}")(lab):
            yield

    return setting, fault
