"""The faults: asynchronous contexts that break something, and repair it at the end."""

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
"""The only address of a name without an IPv4 address (RFC 3849)."""


@contextlib.asynccontextmanager
async def nothing(_: Lab) -> AsyncIterator[None]:
    """Break nothing."""
    yield


@contextlib.asynccontextmanager
async def _dropping(lab: Lab, host: str, which: str = "") -> AsyncIterator[None]:
    """Let the switch drop IP packets from and to a host without notice; connections stay open."""
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
    """Set one of the emulator's faults in eqiad."""
    await lab.eventgates["eqiad"].fault(mode, seconds)
    try:
        yield
    finally:
        await lab.eventgates["eqiad"].fault("none")


def kafka_down(lab: Lab) -> AbstractAsyncContextManager[None]:
    """EventGate in eqiad is healthy, but reports an error for every event."""
    return _emulated(lab, "kafka")


def unrouted(lab: Lab) -> AbstractAsyncContextManager[None]:
    """A proxy in front of EventGate in eqiad answers each POST with 404; health checks pass."""
    return _emulated(lab, "unrouted")


def blackholed(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Packets from and to eqiad are dropped, also those of established connections."""
    return _dropping(lab, "eqiad")


def lossy(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Three in ten packets from and to eqiad are dropped."""
    return _dropping(lab, "eqiad", "numgen random mod 100 < 30")


@contextlib.asynccontextmanager
async def all_gone(lab: Lab) -> AsyncIterator[None]:
    """Packets from and to both datacenters are dropped."""
    async with _dropping(lab, "eqiad"), _dropping(lab, "codfw"):
        yield


@contextlib.asynccontextmanager
async def frozen(lab: Lab) -> AsyncIterator[None]:
    """The process in eqiad is stopped: the kernel accepts connections, but nothing reads from them."""
    lab.eventgates["eqiad"].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        lab.eventgates["eqiad"].send_signal(signal.SIGCONT)


def refused(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Nothing listens in eqiad, and open connections are closed."""
    return _emulated(lab, "refuse")


def reset(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Connections to eqiad are reset in the middle of the answer."""
    return _emulated(lab, "reset")


def unavailable(lab: Lab) -> AbstractAsyncContextManager[None]:
    """EventGate in eqiad answers everything with 503."""
    return _emulated(lab, "unavailable")


def slow(lab: Lab) -> AbstractAsyncContextManager[None]:
    """EventGate in eqiad takes the event and answers 3 s later."""
    return _emulated(lab, "slow", SLOW_SECONDS)


def dripping(lab: Lab) -> AbstractAsyncContextManager[None]:
    """EventGate in eqiad takes the event and answers one byte a second."""
    return _emulated(lab, "drip")


def dns_silent(lab: Lab) -> AbstractAsyncContextManager[None]:
    """DNS queries get no answer."""
    return _dropping(lab, "dns")


@contextlib.asynccontextmanager
async def dns_stopped(lab: Lab) -> AsyncIterator[None]:
    """The DNS server is stopped: its host reports a closed port."""
    await lab.names.stop()
    try:
        yield
    finally:
        await lab.names.serve()


def no_such_name(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The name of eqiad is removed from DNS; the host is healthy."""
    return lab.names.instead({name: worker for name, worker in CNAMES.items() if "eqiad" not in name})


def no_such_names(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The names of both datacenters are removed from DNS; the hosts are healthy."""
    return lab.names.instead({})


def names_without_address(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The names of both datacenters have no IPv4 address in DNS; the hosts are healthy."""
    return lab.names.instead({}, {**WORKERS, **dict.fromkeys(CNAMES, (NO_IPV4,))})


def aliases_without_address(lab: Lab) -> AbstractAsyncContextManager[None]:
    """The names of both datacenters are CNAMEs of names without an IPv4 address; the hosts are healthy."""
    return lab.names.instead(CNAMES, dict.fromkeys(WORKERS, (NO_IPV4,)))


@contextlib.asynccontextmanager
async def moved(lab: Lab) -> AsyncIterator[None]:
    """The worker behind eqiad's name dies, and the name then points to another one."""
    moved_to = {**CNAMES, "staging.svc.eqiad.wmnet": "kubestage1004.eqiad.wmnet"}
    async with _dropping(lab, "eqiad"), lab.names.instead(moved_to):
        yield


def two_addresses(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Setup: eqiad's name has two addresses."""
    both = (*WORKERS["kubestage1003.eqiad.wmnet"], *WORKERS["kubestage1004.eqiad.wmnet"])
    return lab.names.instead(workers={**WORKERS, "kubestage1003.eqiad.wmnet": both})


def forty_addresses(lab: Lab) -> AbstractAsyncContextManager[None]:
    """Setup: eqiad's name has forty addresses; 38 of them, including the 16 lowest, are no host's."""
    alive = (*WORKERS["kubestage1003.eqiad.wmnet"], *WORKERS["kubestage1004.eqiad.wmnet"])
    forty = (*(f"198.18.0.{100 + n}" for n in range(16)), *alive, *(f"198.18.2.{100 + n}" for n in range(22)))
    return lab.names.instead(workers={**WORKERS, "kubestage1003.eqiad.wmnet": forty})


class Relayed:
    """Faults that a relay in front of eqiad simulates; `setting` must be entered first."""

    def __init__(self) -> None:
        """Without a relay yet."""
        self._relay: Relay | None = None

    @contextlib.asynccontextmanager
    async def setting(self, lab: Lab) -> AsyncIterator[None]:
        """Setup: eqiad's name has the relay's address."""
        workers = {**WORKERS, "kubestage1003.eqiad.wmnet": HOSTS["eqiad"][1:]}
        async with relay(lab.network, "eqiad", lab.folder) as self._relay, lab.names.instead(workers=workers):
            yield

    def told(self, words: str) -> Fault:
        """Return the fault that this command makes the relay simulate."""

        @contextlib.asynccontextmanager
        async def fault(_: Lab) -> AsyncIterator[None]:
            """The relay follows the command."""
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
    """Return setup and fault: what eqiad sends arrives 3 s later, with netem if the kernel has it."""

    @contextlib.asynccontextmanager
    async def setting(lab: Lab) -> AsyncIterator[None]:
        """The relay, if it is needed."""
        async with nothing(lab) if needs.has_netem() else through.setting(lab):
            yield

    @contextlib.asynccontextmanager
    async def fault(lab: Lab) -> AsyncIterator[None]:
        """With netem or the relay."""
        async with _netem(lab) if needs.has_netem() else through.told(f"late {SLOW_SECONDS:g}")(lab):
            yield

    return setting, fault
