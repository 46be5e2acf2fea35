"""One connection with a misbehaving peer, on real sockets, byte by byte where that matters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from sidecar.eventgate.connection import MAX_INTERIM, MAX_REPLY_BYTES, BadReply, Connection, Reply, open_connection
from tests.fakes import FakeEventGate, close, drip, raw, reset
from tests.fakes import Reply as Act

REQUEST = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
FINE = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok"
FAST = 0.0001


@contextlib.asynccontextmanager
async def connection(*acts: Act) -> AsyncIterator[Connection]:
    """Connect to a peer with these replies, one for each request."""
    async with FakeEventGate(*acts) as gate:
        host, _, port = gate.address.partition(":")
        made = await open_connection(host, int(port), None, "")
        yield made
        made.close()


async def exchange(made: Connection, limit: int = MAX_REPLY_BYTES) -> Reply:
    """Send a request; return the answer, or raise the error."""
    ended: asyncio.Future[Reply | Exception] = asyncio.get_running_loop().create_future()
    made.exchange(REQUEST, ended.set_result, limit)
    async with asyncio.timeout(5):
        result = await ended
    if isinstance(result, Exception):
        raise result
    return result


@pytest.mark.parametrize(
    ("data", "status", "reason", "headers", "body"),
    [
        (FINE, 201, "Created", {"content-length": "2"}, b"ok"),
        (FINE.replace(b"content-", b"Content-"), 201, "Created", {"content-length": "2"}, b"ok"),
        (
            b"HTTP/1.1 207 Some\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nx-sum: 1\r\n\r\n",
            *(207, "Some", {"transfer-encoding": "chunked"}, b"abc"),
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + FINE, 201, "Created", {"content-length": "2"}, b"ok"),
        (b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + FINE, 201, "Created", {"content-length": "2"}, b"ok"),
        (b"HTTP/1.1 199 Odd\r\ncontent-length: 0\r\n\r\n" + FINE, 201, "Created", {"content-length": "2"}, b"ok"),
        (b"HTTP/1.1 204 \r\n\r\n", *(204, "", {}, b"")),
    ],
    ids=["plain", "capitals", "chunks and trailers", "100 before it", "103 before it", "199 before it", "204"],
)
@pytest.mark.parametrize("slow", [False, True], ids=["at once", "byte by byte"])
async def test_an_answer_is_read_completely(
    *, data: bytes, status: int, reason: str, headers: dict[str, str], body: bytes, slow: bool
) -> None:
    """Status, reason, headers and body, however the bytes are split; 1xx answers are skipped."""
    async with connection(drip(data, FAST) if slow else raw(data)) as made:
        reply = await exchange(made)
    assert (reply.status, reply.reason, reply.headers, reply.body) == (status, reason, headers, body)
    assert not slow or reply.head.endswith(b"\r\n\r\n")  # nothing of the body is held twice


async def test_an_answer_may_end_with_its_connection() -> None:
    """Without a length (RFC 9112, 6.3)."""

    async def until_the_end(request: object, line: asyncio.StreamWriter) -> None:
        del request
        line.write(b"HTTP/1.1 201 Created\r\n\r\nall of it")
        line.close()

    async with connection(until_the_end) as made:
        assert (await exchange(made)).body == b"all of it"
        assert not made.may_be_reused


@pytest.mark.parametrize(
    ("data", "reused"),
    [
        (FINE, True),
        (FINE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), False),
        (b"HTTP/1.0 201 Created\r\ncontent-length: 2\r\n\r\nok", False),
        (FINE + FINE, False),
        (FINE + b"rubbish", False),
    ],
    ids=["keep-alive", "close", "HTTP/1.0", "an answer nobody asked for", "rubbish behind it"],
)
async def test_a_connection_is_reused_only_if_that_is_safe(data: bytes, reused: bool) -> None:
    """Data after an answer must never be taken for the answer to the next request."""
    async with connection(raw(data)) as made:
        assert (await exchange(made)).body == b"ok"
        assert made.may_be_reused is reused


async def test_one_exchange_follows_another() -> None:
    """Each request gets its own answer, and each answer has the limits to itself."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_INTERIM
    async with connection(raw(interim + FINE), raw(interim + FINE.replace(b"ok", b"OK"))) as made:
        assert [(await exchange(made, limit=2)).body for _ in range(2)] == [b"ok", b"OK"]


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (close, ConnectionError, "closed by the other side"),
        (reset, ConnectionError, "reset"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), BadReply, "is not valid HTTP/1.1"),
        (raw(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n"), BadReply, "is not valid HTTP"),
        (raw(b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"), BadReply, "another protocol"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1)), BadReply, "1xx answers and no final one"),
        (raw(b"HTTP/1.1 199 Odd\r\ncontent-length: 2\r\n\r\n{}" + FINE), BadReply, "1xx answer has a body"),
        (raw(b"HTTP/1.1 199 Odd\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + FINE), BadReply, "answer has a body"),
        (raw(b"HTTP/1.1 050 Half\r\ncontent-length: 1\r\n\r\nx" + FINE), BadReply, "its status is 050"),
        (raw(b"HTTP/1.1 201 Created\r\n" + b"x-short: y\r\n" * 9000), BadReply, "headers of its answer are over"),
        (raw(b"HTTP/1.1 201 Created\r\nx-long: " + b"x" * 100_000), BadReply, "headers of its answer are over"),
        (
            raw(b"HTTP/1.1 201 Created\r\ncontent-length: 40000000\r\n\r\n" + bytes(MAX_REPLY_BYTES + 1)),
            BadReply,
            "over",
        ),
    ],
    ids=[
        "closed",
        "reset",
        "another protocol",
        "two lengths",
        "101",
        "a flood of 1xx",
        "a body of 1xx",
        "an empty body of 1xx",
        "no status",
        "headers",
        "header",
        "body",
    ],
)
async def test_a_bad_answer_is_explained(act: Act, error: type[Exception], words: str) -> None:
    """Whatever the peer does, there is a reason, and the connection is not reused."""
    async with connection(act) as made:
        with pytest.raises(error, match=words):
            await exchange(made)
        assert (made.is_open, made.may_be_reused) == (False, False)


async def test_closing_cancels_the_callback() -> None:
    """An abandoned exchange reports nothing."""
    async with connection(close) as made:
        told: list[object] = []
        made.exchange(REQUEST, told.append)
        made.close()
        await asyncio.sleep(0.01)
        assert (told, made.is_open) == ([], False)


class Clogged(asyncio.Transport):
    """A transport that has not sent everything yet."""

    closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore them."""

    def get_write_buffer_size(self) -> int:
        """Return what is not sent."""
        return 7

    def is_closing(self) -> bool:
        """Whether it is about to end."""
        return self.closing

    def abort(self) -> None:
        """There is no socket."""


@pytest.mark.parametrize(("status", "answered"), [(b"413 Payload Too Large", True), (b"201 Created", False)])
def test_an_answer_before_the_whole_request_is_the_connections_last(status: bytes, answered: bool) -> None:
    """An error may come early, an acceptance cannot; what is left of the request would be read as the next one."""
    ends: list[Reply | Exception] = []
    made = Connection()
    made.connection_made(Clogged())
    made.exchange(REQUEST, ends.append)
    made.data_received(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)
    assert [isinstance(each, Reply) for each in ends] == [answered]
    assert not made.may_be_reused


def test_a_connection_that_is_about_to_close_is_not_open() -> None:
    """Nothing may be sent on it any more."""
    made, transport = Connection(), Clogged()
    made.connection_made(transport)
    assert made.is_open
    transport.closing = True
    assert not made.is_open
