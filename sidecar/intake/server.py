"""The two HTTP servers that `runtime` runs, and their listening sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import functools
import math
import re
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from sidecar.errors import SettingError
from sidecar.intake.budget import ByteBudget
from sidecar.intake.protocol import Protocol
from sidecar.intake.request import Limits, Taker

BACKLOG = 2048
_USUAL = Limits()
TURNS_OF_AN_ACCEPT = 2
"""Turns of the loop until an accepted connection exists, and until its first bytes are read."""


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to `runtime`, since two run side by side, and needs no timer.

    uvicorn wakes ten times a second to check whether to stop, and to update a Date header that is not sent here.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        """Prepare a server that does not listen yet."""
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Take no more connections, and end when requests in flight are answered."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Wait for `stop`."""
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, answer requests in flight, and end.

        uvicorn shuts down its connections and waits until none is left. One accepted in the same turn of the loop would
        be added after that, and delay the end until the timeout.
        """
        for server in self.servers:
            server.close()
        for _ in range(TURNS_OF_AN_ACCEPT):
            await asyncio.sleep(0)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def make_server(
    app: Any, taker: Taker, budget: ByteBudget, graceful_seconds: float, limits: Limits | None = None
) -> Server:
    """Return a server: POSTs of events go to `taker`, other requests to the ASGI application `app`.

    `budget` limits the bytes held for clients. On stop, requests in flight have `graceful_seconds` to end.
    """
    protocol = functools.partial(
        Protocol,
        limits=limits or limits_here(),
        taker=taker,
        budget=budget,
        idle={},
    )
    return serve_by(protocol, graceful_seconds, app)


def serve_by(protocol: Callable[..., asyncio.Protocol], graceful_seconds: float, app: Any = None) -> Server:
    """Return a server that creates connections with `protocol`, called as uvicorn calls its own."""
    return Server(
        uvicorn.Config(
            app,
            http=protocol,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(graceful_seconds),
            backlog=BACKLOG,
        )
    )


def limits_here(usual: Limits = _USUAL, of: int = 2) -> Limits:
    """Return `usual`, with connections limited to one in `of` file descriptors of the process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    bounded = soft != resource.RLIM_INFINITY
    return dataclasses.replace(usual, connections=min(usual.connections, soft // of)) if bounded else usual


def address_of(text: str, flag: str = "") -> tuple[str, int]:
    """Read `host:port`; `flag` is named in the error.

    Raises:
        SettingError: it is not of that form.

    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise SettingError(f"{flag} {text!r} is not an address; write host:port, such as 127.0.0.1:8888".lstrip())
    return host.strip("[]"), int(port)


def bind(address: str) -> socket.socket:
    """Listen on `address`, written `host:port`; port 0 means any free port.

    Raises:
        SettingError: not of that form, or the address is not available.

    """
    host, port = address_of(address)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        advice = "; stop what listens there, or use another port" if error.errno == errno.EADDRINUSE else ""
        raise SettingError(f"cannot listen on {address}: {error.strerror}{advice}") from None
    listening.setblocking(False)
    return listening
