"""Upstreams that do as no EventGate would, and what a whole sidecar makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from tests.fakes import Answer, Line, Received, Reply, close, raw
from tests.running import Running

EVENT = b'{"meta":{"stream":"s","id":"a"},"n":1.0}'
FINE = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"

Bytes = asyncio.StreamReader
Speak = Callable[[Bytes, Line], Awaitable[None]]


def then_close(data: bytes) -> Reply:
    """Write these bytes, then hang up."""

    async def reply(request: Received, line: Line) -> None:
        await raw(data)(request, line)
        await close(request, line)

    return reply


def flood(begin: bytes, again: bytes) -> Reply:
    """Begin so, and go on for as long as anyone takes it."""

    async def reply(_: Received, line: Line) -> None:
        line.write(begin)
        while not line.is_closing():
            line.write(again)
            await line.drain()

    return reply


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 201 Created\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"

endless_headers = flood(HEAD, b"x-more: and more\r\n" * 100)
endless_body = flood(CHUNKED, chunk(b"x" * 65536))
flood_of_1xx = flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
flood_of_long_1xx = flood(b"", b"HTTP/1.1 103 Hints\r\nlink: " + b"x" * 1000 + b"\r\n\r\n")


def with_json(status: int, body: bytes | object, headers: str = "") -> Reply:
    """Answer with JSON, or with what pretends to be JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\n{headers}content-length: {len(data)}\r\n\r\n"
    return raw(head.encode() + data)


def echo(name: str, kind: str = "invalid") -> dict[str, object]:
    """Return what EventGate says of the event of this id when it failed."""
    return {"status": kind, "event": {"meta": {"id": name, "stream": "s"}}, "context": {"message": "words"}}


@contextlib.asynccontextmanager
async def speaking(speak: Speak) -> AsyncIterator[str]:
    """Serve every connection with `speak`, health checks too; yield the address."""
    lines: set[Line] = set()

    async def serve(reader: Bytes, line: Line) -> None:
        lines.add(line)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await speak(reader, line)
            while await reader.read(65536):
                pass  # the client closes first
        lines.discard(line)
        line.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for line in lines:
            line.transport.abort()


async def ends(running: Running) -> dict[str, float]:
    """Return how the attempts so far ended, and how many so."""
    counted = await running.metrics("eventgate_sidecar_posts_total")
    return {labels.partition('result="')[2].partition('"')[0]: count for labels, count in counted.items()}


def said(answer: Answer) -> str:
    """Return the message about the only event, up to what it says of the endpoint's name."""
    (error,) = answer.json["error"]
    message: str = error["context"]["message"]
    return message.partition(": ")[2].partition(": ")[2]


def descriptors() -> int:
    """Count the files and sockets that this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def memory_in_mib(pid: int, key: str) -> float:
    """Read a line of /proc/PID/status: VmRSS, or VmHWM for the most there was."""
    lines: Iterator[str] = iter(Path(f"/proc/{pid}/status").read_text().splitlines())
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))
