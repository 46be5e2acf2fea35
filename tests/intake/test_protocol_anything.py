"""Promises of `protocol` however the network splits a client's bytes."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.intake.budget import ByteBudget
from sidecar.intake.server import make_server
from tests.fakes import post
from tests.intake.test_protocol import Echo
from tests.jsontext import unhurried

CHUNKED = b"POST /v1/events?x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
REQUESTS = st.sampled_from(
    [
        post(b'{"meta":{}}'),
        post(b"", "/v1/Events/"),
        post(b"[]", "/v1/events?hasty=1", expect="100-continue"),
        post(b"x", "/other"),
        post(b"{}", connection="upgrade", upgrade="h2c"),
        post(b"{}", "/v1/%65vents", connection="close"),
        post(b"ASGI", "/%00", connection="close"),
        CHUNKED + b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nx: y\r\n\r\n",
        CHUNKED + b"0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\r\n\r\n",
        b"POST /v1/events HTTP/1.0\r\ncontent-length: 1\r\n\r\ny",
        b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"rubbish\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        CHUNKED + b"zz\r\n",
        b"POST /v1/events HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ]
)


class Line(asyncio.Transport):
    """A transport that records writes and whether reading is paused."""

    def __init__(self) -> None:
        """It is open."""
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.reads = True
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        assert not self._closing
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept back here."""

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closing

    def close(self) -> None:
        """Take no more."""
        self._closing = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Nobody takes over."""

    def pause_reading(self) -> None:
        """Read no more."""
        self.reads = False

    def resume_reading(self) -> None:
        """Go on."""
        self.reads = True


async def said_to(pieces: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return status line and body of every answer to a connection that sends these pieces."""
    return answers((await written_to(pieces))[0])


async def written_to(pieces: Sequence[bytes]) -> tuple[bytes, bool]:
    """Return everything written to a connection that sends these pieces, and whether it was closed."""
    echo = Echo()
    server = make_server(echo, echo, ByteBudget(), 1.0)
    server.config.load()
    line = Line()
    protocol = server.config.http_protocol_class(  # type: ignore[call-arg]
        config=server.config, server_state=server.server_state, app_state={}
    )
    protocol.connection_made(line)
    for piece in pieces:
        for _ in range(100):
            await asyncio.sleep(0)
            if line.reads:
                break
        if not line.is_closing():
            protocol.data_received(piece)
    for _ in range(100):
        await asyncio.sleep(0)
    closed = line.is_closing()
    protocol.connection_lost(None)
    for _ in range(10):
        await asyncio.sleep(0)
    assert echo.under_way == 0
    return line.written, closed


def answers(written: bytes) -> list[tuple[bytes, bytes]]:
    """Parse consecutive answers."""
    found = []
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        status, _, headers = head.partition(b"\r\n")
        assert re.fullmatch(rb"HTTP/1\.1 [1-5]\d\d .*", status)
        length = re.search(rb"(?mi)^content-length: (\d+)", headers)
        size = int(length[1]) if length else 0
        assert length or status.startswith(b"HTTP/1.1 1")
        found.append((status, rest[:size]))
        written = rest[size:]
    return found


def without_refusal(found: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Drop the refusal of malformed HTTP and 100 Continue, which depend on timing."""
    kept = [each for each in found if not each[0].startswith(b"HTTP/1.1 100 ")]
    return kept[:-1] if kept and kept[-1][0].startswith(b"HTTP/1.1 400 ") else kept


@unhurried
@given(st.lists(REQUESTS, min_size=1, max_size=5), st.lists(st.integers(0, 400), max_size=6))
@example([post(b"{}"), b"rubbish\r\n\r\n"], [])
@example([post(b"", upgrade="h2c", connection="upgrade"), post(b"", connection="close"), post(b"x")], [])
def test_it_does_not_matter_where_the_bytes_are_cut(requests: list[bytes], cuts: list[int]) -> None:
    """The same answers to one piece, to any pieces and to each byte alone; only a refusal at the end may be missing.

    It is missing where an earlier request is not answered yet: its answer is then the last.
    """
    data = b"".join(requests)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places) if begin < end]
    with asyncio.Runner() as runner:
        whole = without_refusal(runner.run(said_to([data])))
        assert without_refusal(runner.run(said_to(pieces))) == whole
        assert without_refusal(runner.run(said_to([bytes([each]) for each in data]))) == whole
