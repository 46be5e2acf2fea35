"""Serves the emulator on a socket, with reason phrases, which ASGI lacks, and faults below HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from sidecar.demo.emulator.gate import EventGateEmulator, Fault, Message, Receive, Send

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

KEEP_ALIVE_SECONDS = 5  # Node's default, which EventGate does not change
_STOP_SECONDS = 2.0


@contextlib.asynccontextmanager
async def running(
    emulator: EventGateEmulator,
    listen: tuple[str, int] = ("127.0.0.1", 0),
    *,
    control: tuple[str, int] | None = None,
    certfile: Path | None = None,
    keyfile: Path | None = None,
) -> AsyncIterator[str]:
    """Serve in the running event loop until the block is left; yields the URL, without a path.

    With `control`, `/_emulator/fault` is also served on a second port, without TLS, at `emulator.control_url`: the only
    way to lift the fault `refuse`. Raises OSError if a port is taken.
    """
    listener = _Listener(emulator, listen, certfile, keyfile)
    second = _Listener(emulator.control, control) if control is not None else None
    before, emulator.on_fault = emulator.on_fault, listener.apply
    try:
        if second is not None:
            await second.start()
            emulator.control_url = second.url
        async with asyncio.TaskGroup() as group:
            if emulator.fault.mode == "refuse":
                listener.apply(emulator.fault)
            else:
                await listener.start()
            keeper = group.create_task(_keep_listening(emulator, listener))
            try:
                yield listener.url
            finally:
                keeper.cancel()
                emulator.release()
                await listener.stop()
    finally:
        emulator.on_fault = before
        listener.close()
        if second is not None:
            await second.stop()
            second.close()


async def _keep_listening(emulator: EventGateEmulator, listener: _Listener) -> None:
    """Start accepting again once a `refuse` is lifted."""
    while True:
        changed = emulator.changed
        if emulator.fault.mode != "refuse":
            await listener.start()
            listener.apply(emulator.fault)  # it may have changed meanwhile
        await changed.wait()


class _Listener:
    """One port, which stays bound while nothing listens on it, so that it can be listened on again."""

    def __init__(
        self, app: Asgi, address: tuple[str, int], certfile: Path | None = None, keyfile: Path | None = None
    ) -> None:
        self._config = Config(
            app,
            interface="asgi3",
            proxy_headers=False,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.AbstractServer | None = None
        self._socket = _bind(address)
        host, port = self._socket.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if self._config.is_ssl else 'http'}://{host}:{port}"

    async def start(self) -> None:
        """Accept connections, unless it does already."""
        if self._server is None:
            protocol = functools.partial(_Protocol, config=self._config, server_state=self._state, app_state={})
            # The server closes what it is given, so it gets a duplicate.
            self._server = await asyncio.get_running_loop().create_server(
                protocol, sock=self._socket.dup(), ssl=self._config.ssl, backlog=2048
            )

    def apply(self, fault: Fault) -> None:
        """Stop or resume listening, at once, as a fault demands."""
        if fault.mode != "refuse":
            self._socket.listen(2048)  # connections queue up until `start` accepts them
            return
        if self._server is not None:
            self._server.close()
            self._server = None
            # On Linux a listening socket that is shut down refuses connections and keeps its port.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._abort()

    async def stop(self) -> None:
        """Stop accepting, and give requests in flight a moment to end."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=_STOP_SECONDS)
        self._abort()

    def close(self) -> None:
        """Release the port."""
        self._socket.close()

    def _abort(self) -> None:
        for connection in list(self._state.connections):
            connection.transport.abort()


def _bind(address: tuple[str, int]) -> socket.socket:
    """Bind a socket to this address; for port 0, find a free port and bind to its number.

    A socket that is shut down keeps its port only if it was bound by number.
    """
    host, port = address
    bound = _new_socket(host)
    if port == 0:
        with _new_socket(host) as finder:
            finder.bind(address)
            # Both may hold the port as long as neither listens, so no other process can get it in between.
            bound.bind((host, finder.getsockname()[1]))
    else:
        bound.bind(address)
    return bound


def _new_socket(host: str) -> socket.socket:
    new = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    new.setblocking(False)
    return new


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with answers written by `_Writer`."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        async def answer(scope: Message, receive: Receive, _: Send) -> None:
            await cast("Asgi", app)(scope, receive, _Writer(cycle))

        # uvicorn's types have neither the key `reason` nor the message `emulator.abort`.
        super()._start_asgi_task(cycle, cast("ASGI3Application", answer))


class _Writer:
    """An ASGI `send` that takes a `reason` and writes head and body at once.

    `http.response.start` may also have `write(transport, bytes)`, used instead of the transport's own. The message
    `emulator.abort` closes the connection without an answer. The body must be one message.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._start: Message = {}

    async def __call__(self, message: Message) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "emulator.abort":
            cycle.disconnected = True
            cycle.transport.abort()
        elif not (cycle.disconnected or cycle.transport.is_closing()):
            # From here on uvicorn must not answer itself.
            cycle.response_started = True
            data = self._head() + self._body(message["body"])
            if (write := self._start.get("write")) is not None:
                await write(cycle.transport, data)
            else:
                cycle.transport.write(data)
            self._complete()

    def _head(self) -> bytes:
        reason = self._start.get("reason", "")
        status = self._start["status"]
        first = f"HTTP/1.1 {status} {reason}\r\n".encode("latin-1") if reason else STATUS_LINE[status]
        lines = [first]
        for name, value in self._start["headers"]:
            lines += (name, b": ", value, b"\r\n")
        if self._cycle.keep_alive:
            lines.append(b"connection: keep-alive\r\nkeep-alive: timeout=%d\r\n\r\n" % KEEP_ALIVE_SECONDS)
        else:
            lines.append(b"connection: close\r\n\r\n")
        return b"".join(lines)

    def _body(self, body: bytes) -> bytes:
        if self._cycle.scope["method"] == "HEAD":
            return b""
        if (b"transfer-encoding", b"chunked") not in self._start["headers"]:
            return body
        return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"

    def _complete(self) -> None:
        """Update uvicorn's state as its own `send` would."""
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
