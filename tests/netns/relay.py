"""A TCP relay for faults that the kernel cannot simulate: `python -m tests.netns.relay`.

It reads commands on standard input, one per line, and answers each with a line:

- `pass`: bytes pass.
- `silent`: connections are closed; new ones are accepted, but nothing is read from or written to them.
- `late SECONDS`: what the server sends arrives that much later, on old and new connections.
- `stale`: now and then, when bytes arrive on a reused connection, it is closed and they are dropped, as by a server
  that closes an idle connection at that moment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

CHUNK = 65536
HANDSHAKE_CHUNKS = 3
"""This many pieces from a client belong to the handshake and the first request."""
STALE_SECONDS = 0.2
"""At most one connection per this time is stale."""


class Relay:
    """The relay and its connections."""

    def __init__(self, to: tuple[str, int]) -> None:
        """It relays to the server `to`."""
        self._to = to
        self._mode = "pass"
        self._delay = 0.0
        self._told = asyncio.Event()
        self._clients: set[asyncio.StreamWriter] = set()
        self._last_stale = 0.0

    def tell(self, words: str) -> None:
        """Follow a command."""
        self._mode, _, seconds = words.partition(" ")
        self._delay = float(seconds) if seconds else 0.0
        if self._mode == "silent":
            for client in self._clients:
                client.transport.abort()
        told, self._told = self._told, asyncio.Event()
        told.set()

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        if self._mode == "silent":
            await self._told.wait()
            client.transport.abort()
            return
        self._clients.add(client)
        try:
            with contextlib.suppress(OSError):
                server_reader, server = await asyncio.open_connection(*self._to)
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._forth(reader, client, server))
                    pumps.create_task(self._back(server_reader, client))
        finally:
            self._clients.discard(client)
            client.close()

    async def _forth(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        chunks = 0
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                chunks += 1
                if self._mode == "stale" and chunks > HANDSHAKE_CHUNKS and self._due():
                    client.transport.abort()
                    break
                server.write(chunk)
        server.close()

    async def _back(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        due = 0.0
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                due = max(due + 1e-6, loop.time() + self._delay)
                loop.call_at(due, client.write, chunk)
        loop.call_at(max(due + 1e-6, loop.time()), client.close)

    def _due(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._last_stale < STALE_SECONDS:
            return False
        self._last_stale = now
        return True


async def run(listen: tuple[str, int], to: tuple[str, int]) -> None:
    """Relay until standard input ends."""
    relay = Relay(to)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with await asyncio.start_server(relay.serve, *listen):
        _say("ready")
        while line := await orders.readline():
            relay.tell(line.decode().strip())
            _say("done")


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Run the relay."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=_address, required=True)
    parser.add_argument("--to", type=_address, required=True)
    options = parser.parse_args()
    asyncio.run(run(options.listen, options.to))


if __name__ == "__main__":
    main()
