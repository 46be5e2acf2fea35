"""Fakes of the peers: an EventGate and a producer, each on a real loopback socket, and certificates for TLS.

Nothing here knows the sidecar. What goes over the wire is spelt out, so that a fake can break every rule a
real peer might break.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

Json = Any
"""Parsed JSON."""

PATIENCE = 10.0
"""Time limit for anything awaited in a test, in seconds; success takes milliseconds."""


# --- an EventGate that does as it is told ---


@dataclass(frozen=True)
class Received:
    """A received request; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> Json:
        """The events in the body, a single one or an array."""
        body = json.loads(self.body)
        return body if isinstance(body, list) else [body]


Line = asyncio.StreamWriter
Reply = Callable[[Received, Line], Awaitable[None]]
"""The reaction to one request. It may write anything to the connection, or close it."""


def answer(status: int, reason: str = "", body: bytes | str = b"", headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with this status and body."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} {reason}", f"content-length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def raw(data: bytes) -> Reply:
    """Return a reply that writes only these bytes."""

    async def reply(_: Received, line: Line) -> None:
        line.write(data)

    return reply


def failures(status: int, **kinds: list[Mapping[str, Any]]) -> Reply:
    """EventGate's JSON: `failures(400, invalid=[{...}])`."""
    reason = {207: "some events failed", 400: "all invalid", 500: "all failed"}[status]
    return answer(status, reason, json.dumps(kinds), {"content-type": "application/json; charset=utf-8"})


async def accept(request: Received, line: Line) -> None:
    """Answer like EventGate when it accepted every event."""
    count = len(request.events)
    await answer(201, f"All {count} out of {count} events were accepted.")(request, line)


healthy = answer(200, "OK", '{"name":"eventgate"}', {"content-type": "application/json"})


async def close(_: Received, line: Line) -> None:
    """Close the connection instead of an answer (FIN)."""
    line.close()


async def reset(_: Received, line: Line) -> None:
    """Reset the connection instead of an answer (RST)."""
    line.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.transport.abort()


async def stall(_: Received, line: Line) -> None:
    """Never answer; returns when the peer closes the connection."""
    await _gone(line)


def drip(data: bytes, pause: float = 0.02) -> Reply:
    """Write one byte at a time, without end."""

    async def reply(_: Received, line: Line) -> None:
        with contextlib.suppress(ConnectionError):
            for byte in data:
                line.write(bytes([byte]))
                await line.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await _gone(line)
                        return

    return reply


def after(held: asyncio.Event | asyncio.Barrier, reply: Reply = accept) -> Reply:
    """Reply once `held` is set."""

    async def hold(request: Received, line: Line) -> None:
        await held.wait()
        await reply(request, line)

    return hold


async def _gone(line: Line) -> None:
    """Return when the peer has closed the connection; it must send nothing before."""
    reader: asyncio.StreamReader = line._protocol._stream_reader  # type: ignore[attr-defined]
    with contextlib.suppress(ConnectionError):
        await reader.read(1)


class FakeEventGate:
    """Replies to its first POST with `replies[0]`, to its second with `replies[1]`, then with `otherwise`."""

    def __init__(
        self,
        *replies: Reply,
        otherwise: Reply = accept,
        health: Reply = healthy,
        tls: ssl.SSLContext | None = None,
        beside: str = "",
    ) -> None:
        """`health` replies to a GET; `tls` enables https; `beside` is a neighbour, whose port it shares."""
        self.requests: list[Received] = []
        """The POSTs."""
        self.connections = 0
        """The number of connections made to it."""
        self._replies = list(replies)
        self._otherwise = otherwise
        self._health = health
        self._tls = tls
        self._host, self._port = "127.0.0.1", 0
        if beside:
            host, _, port = beside.rpartition(":")
            self._host, self._port = f"127.0.0.{int(host.rpartition('.')[2]) + 1}", int(port)
        self._server: asyncio.Server
        self._lines: set[Line] = set()
        self._came = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, ssl=self._tls, limit=2**24, backlog=1024
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for line in list(self._lines):
            line.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await self._server.wait_closed()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self._host}:{self._server.sockets[0].getsockname()[1]}"

    async def received(self, count: int) -> list[Received]:
        """Wait for this number of requests, and return them all."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _serve(self, reader: asyncio.StreamReader, line: Line) -> None:
        self.connections += 1
        self._lines.add(line)
        try:
            while (request := await _read_request(reader)) is not None:
                if request.method == "POST":
                    reply = self._replies.pop(0) if self._replies else self._otherwise
                    async with self._came:
                        self.requests.append(request)
                        self._came.notify_all()
                    await reply(request, line)
                else:
                    await self._health(request, line)
                if line.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._lines.discard(line)
            line.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await line.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, headers = _parse_head(head)
    method, target, _ = first.split(" ")
    return Received(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def _parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return first, headers


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Yield an address that is bound but does not listen: connections to it are refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """Yield an address where connecting hangs: its backlog is full and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


# --- a producer that does as it is told ---


@dataclass(frozen=True)
class Answer:
    """An answer as a producer reads it; header names in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Json:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """One connection that sends exactly the given bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `connected` instead."""
        self._reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write as much as the peer takes; reading shows whether it closed the connection."""
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def answer(self, method: str = "POST") -> Answer:
        """Read one answer; `method` is the request's."""
        async with asyncio.timeout(PATIENCE):
            first, headers = _parse_head(await self._reader.readuntil(b"\r\n\r\n"))
            _, status, reason = first.split(" ", 2)
            body = b""
            if method != "HEAD" and int(status) >= 200:
                body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(status), reason, headers, body)

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked answer; the last is empty."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            return (await self._reader.readexactly(size + 2))[:-2]

    async def rest(self) -> bytes:
        """Read until the peer closes the connection."""
        read = b""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while chunk := await self._reader.read(65536):
                    read += chunk
        return read

    async def post(self, body: bytes, target: str = "/v1/events", **headers: str) -> Answer:
        """POST `body` and read the answer; `x_request_id="1"` is the header `x-request-id: 1`."""
        await self.send(post(body, target, **headers))
        return await self.answer()


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """Connect to `host:port`."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def post(body: bytes, target: str = "/v1/events", **headers: str) -> bytes:
    """Return the bytes of a POST."""
    fields = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def eventually(true: Callable[[], bool]) -> None:
    """Wait until `true()` returns True; fail after the time limit."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110  what is polled has no event to wait for
            await asyncio.sleep(0.005)


# --- certificates ---


CA_CONFIG = """\
[ca]
default_ca = ours
[ours]
database = index
serial = serial
policy = any
copy_extensions = copy
default_md = sha256
default_days = 40000
[any]
commonName = supplied
"""
"""For `openssl ca`, the only command that sets the start of a certificate's validity."""


class Authority:
    """A certificate authority for a test, made with the openssl command; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Make its key and its own certificate."""
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        self._openssl("req", "-x509", *self._new_key("ca"), "-days", "2", "-subj", "/CN=a CA", "-out", "ca.pem")

    def server(self, name: str, *, days: int = 2, signed: bool = True, begins: str = "") -> ssl.SSLContext:
        """Return what a server needs; with `days` below 0 it has expired, if not `signed` it is its own CA.

        `begins` is the day from which on it is valid, as `20990101000000Z`.
        """
        names = f"subjectAltName={'IP' if name[0].isdigit() else 'DNS'}:{name}"
        request = ("-subj", f"/CN={name}", "-addext", names, "-out")
        if signed:
            self._openssl("req", "-new", *self._new_key("server"), *request, "server.csr")
            self._sign(days, begins)
        else:
            self._openssl("req", "-x509", *self._new_key("server"), *request, "server.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")
        return context

    def _sign(self, days: int, begins: str) -> None:
        signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy")
        if not begins:
            self._openssl("x509", "-req", "-in", "server.csr", *signer, "-days", str(days), "-out", "server.pem")
            return
        (self._folder / "index").write_text("")
        (self._folder / "ca.cnf").write_text(CA_CONFIG)
        paths = ("-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-outdir", ".", "-out", "server.pem")
        self._openssl("ca", "-batch", "-notext", "-in", "server.csr", *paths, "-rand_serial", "-startdate", begins)

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._folder, check=True, capture_output=True)

    def _new_key(self, name: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
