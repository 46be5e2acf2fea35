"""The machines of the world: what listens where, and how a connection attempt ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tests.simulation.loop import PROCESS, Process
from tests.simulation.network import End, Place, Weather, join
from tests.simulation.transport import SimTransport

if TYPE_CHECKING:
    from tests.simulation.loop import SimLoop

SYN_SECONDS = 1.0
"""After which the kernel sends the first packet of a connection again (RFC 6298)."""
Door = Literal["open", "refuse", "silent"]
"""Result of connecting to a machine; silent: no answer ever comes."""


@dataclass
class Machine:
    """A listener at an address of the world."""

    accept: Callable[[End], None]
    door: Door = "open"
    weather: Weather = field(default_factory=Weather)
    """Weather of new connections; each has its own copy."""
    authority: bytes = b""
    """Who signed its certificate."""
    loses: int = 0
    """Of so many connections the first packet is lost: it is sent again after `SYN_SECONDS`."""


class SimSocket:
    """A listening socket of a sidecar."""

    def __init__(self, place: Place) -> None:
        """Bind it."""
        self.place = place

    def getsockname(self) -> Place:
        """Return its address."""
        return self.place

    def close(self) -> None:
        """Release the address; its server is closed separately."""


class Listener:
    """What `create_server` returns."""

    def __init__(self, network: Network, place: Place, factory: Callable[[], Any], process: Process | None) -> None:
        """Listen."""
        self.network, self.place, self.factory, self.process = network, place, factory, process
        self.sockets: list[SimSocket] = []

    def close(self) -> None:
        """Accept no more connections."""
        if self.network.listeners.get(self.place) is self:
            del self.network.listeners[self.place]

    async def wait_closed(self) -> None:
        """Return at once."""


class Network:
    """All connections and addresses."""

    def __init__(self, seed: str) -> None:
        """Nothing listens yet."""
        self.loop: SimLoop
        self.machines: dict[Place, Machine] = {}
        self.listeners: dict[Place, Listener] = {}
        self.ends: list[End] = []
        """Of sidecars."""
        self.name_server: Callable[[str, bytes, Callable[[bytes], None]], None] = lambda _who, _query, _answer: None
        self.pod_weather = Weather(base=0.00005, spread=0.0001)
        self._chance = random.Random(f"{seed}/network")
        self._port = 30000

    # --- of a sidecar, outward ---

    async def open(self, factory: Callable[[], Any], host: str, port: int, tls: Any, name: Any) -> tuple[Any, Any]:
        """Connect to a machine; `tls` and `name` as asyncio has them."""
        process = PROCESS.get()
        machine = self.machines.get((host, port))
        rtt = 2 * (machine.weather if machine else Weather()).latency(self._chance)
        if machine is None or machine.door == "silent":
            await asyncio.sleep(rtt)
            if machine is None:
                raise OSError(113, "No route to host")
            await asyncio.sleep(1e6)
        assert machine is not None
        if machine.loses:
            machine.loses -= 1
            rtt += SYN_SECONDS
        await asyncio.sleep(rtt)
        if machine.door == "refuse":
            raise ConnectionRefusedError(111, "Connection refused")
        end, theirs = self._pair(process, ("10.0.0.1", self._next_port()), None, (host, port), machine.weather)
        self.ends.append(end)
        machine.accept(theirs)
        protocol = factory()
        transport = SimTransport(self.loop, end, protocol)
        await asyncio.sleep(0)
        if tls is not None:
            await self.start_tls(transport, tls, name)
        return transport, protocol

    async def start_tls(self, transport: SimTransport, tls: ssl.SSLContext, _name: Any) -> SimTransport:
        """Shake hands: nothing is encrypted, but the server's authority must be one of the context's."""
        machine = self.machines[transport.end.peer.place]
        await asyncio.sleep(2 * machine.weather.latency(self._chance))
        if transport.end.gone:
            raise ConnectionResetError(104, "Connection reset by peer")
        if machine.authority not in tls.get_ca_certs(binary_form=True):
            transport.abort()
            error = ssl.SSLCertVerificationError(1, "certificate verify failed")
            error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"
            raise error
        return transport

    def datagrams(self, factory: Callable[[], Any]) -> tuple[Any, Any]:
        """Return a socket for datagrams to the name server, the only one there is."""
        protocol = factory()
        transport = Datagrams(self, protocol, PROCESS.get())
        protocol.connection_made(transport)
        return transport, protocol

    # --- of a sidecar, inward ---

    def listen(self, factory: Callable[[], Any], socket: SimSocket) -> Listener:
        """Let a sidecar listen."""
        listener = self.listeners[socket.place] = Listener(self, socket.place, factory, PROCESS.get())
        return listener

    def visit(self, place: Place) -> End | None:
        """Connect a producer to a sidecar; None where nobody listens."""
        listener = self.listeners.get(place)
        if listener is None:
            return None
        there, here = self._pair(listener.process, place, None, ("127.0.0.1", self._next_port()), self.pod_weather)
        self.ends.append(there)
        self.loop.happens(self.pod_weather.latency(self._chance), listener.process, self._accept, listener, there)
        return here

    def _accept(self, listener: Listener, end: End) -> None:
        if not end.gone:
            SimTransport(self.loop, end, listener.factory())

    def _pair(
        self, process: Process | None, mine: Place, other: Process | None, theirs: Place, weather: Weather
    ) -> tuple[End, End]:
        its_own = Weather(weather.base, weather.spread, weather.loss, weather.small)
        ends = (
            End(self.loop, process, mine, self._chance),
            End(self.loop, other, theirs, self._chance),
        )
        join(*ends, its_own)
        return ends

    def _next_port(self) -> int:
        self._port += 1
        return self._port

    # --- kills ---

    def bury(self, process: Process) -> None:
        """Close the sockets of a dead process, as the kernel does."""
        for place in [place for place, each in self.listeners.items() if each.process is process]:
            del self.listeners[place]
        for end in self.ends:
            if end.process is process:
                end.reset()

    def open_ends(self, process: Process) -> list[End]:
        """Return the open connections of a process."""
        self.ends = [end for end in self.ends if not end.gone]
        return [end for end in self.ends if end.process is process]


class Datagrams(asyncio.DatagramTransport):
    """A socket for queries to the name server."""

    def __init__(self, network: Network, protocol: Any, process: Process | None) -> None:
        """Bind it."""
        super().__init__()
        self._network, self._protocol, self._process = network, protocol, process
        self._closed = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a query."""

        def answer(reply: bytes) -> None:
            self._network.loop.happens(0.0005, self._process, self._receive, reply, addr)

        self._network.loop.happens(0.0005, None, self._network.name_server, str(self._process), bytes(data), answer)

    def _receive(self, reply: bytes, addr: Any) -> None:
        if not self._closed:
            with contextlib.suppress(asyncio.InvalidStateError):
                self._protocol.datagram_received(reply, addr)

    def close(self) -> None:
        """Close it."""
        if not self._closed:
            self._closed = True
            self._network.loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """Do the same."""
        self.close()

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._closed
