"""The listener: HTTP as clients break it, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from sidecar.errors import SettingError
from sidecar.listener import Limits, bind, headers_of, make_server
from sidecar.results import Answer
from tests.fakes import PATIENCE, Client, connected, eventually, post
from tests.running import serving

SHORT = Limits(header_seconds=0.05, keep_alive_seconds=0.1, header_bytes=2048)

NOT_HTTP: dict[str, object] = {
    "status": 400,
    "type": "bad_request",
    "title": "BadRequest",
    "detail": "Invalid HTTP request received.",
    "method": "",
    "uri": "",
}


class Echo:
    """An application that answers with what it read, and holds back the answer to `/held` until told."""

    def __init__(self) -> None:
        """Nothing is held yet."""
        self.release = asyncio.Event()
        self.under_way = 0
        self.finished = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.under_way += 1
        try:
            body = b""
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                more = message.get("more_body", False)
            if scope["path"] == "/held":
                await self.release.wait()
            reason = f"Read {len(body)} bytes."
            headers = [(b"content-length", b"%d" % len(body))]
            if scope["path"] == "/last":
                headers.append((b"connection", b"close"))
            await send({"type": "http.response.start", "status": 201, "reason": reason, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            self.finished += 1
        finally:
            self.under_way -= 1


@contextlib.asynccontextmanager
async def talking(limits: Limits | None = None) -> AsyncIterator[tuple[Client, Echo]]:
    """One connection to an `Echo`; afterwards the listener has forgotten it."""
    echo = Echo()
    async with serving(echo, limits) as address, connected(address) as client:
        yield client, echo


def refusal(detail: str = "Invalid HTTP request received.") -> dict[str, object]:
    """Return the JSON with which the listener refuses what is no request."""
    return {**NOT_HTTP, "detail": detail}


# --- what good clients see ---


async def test_the_reason_phrase_reaches_the_client() -> None:
    """What an application says in `reason` stands in the status line; ASGI alone has no word for it."""
    async with talking() as (client, _):
        answer = await client.post(b"four")
        assert (answer.status, answer.reason, answer.body) == (201, "Read 4 bytes.", b"four")


async def test_a_connection_serves_many_requests() -> None:
    """A connection is kept, so the next POST on it needs no new one."""
    async with talking() as (client, echo):
        assert [(await client.post(b"%d" % number)).body for number in range(5)] == [
            b"0",
            b"1",
            b"2",
            b"3",
            b"4",
        ]
        assert echo.finished == 5


async def test_an_answer_may_end_the_connection() -> None:
    """An application that says `connection: close` is taken at its word."""
    async with talking() as (client, _):
        answer = await client.post(b"x", "/last")
        assert (answer.body, answer.headers["connection"]) == (b"x", "close")
        assert await client.rest() == b""


async def test_http_1_0_is_answered_and_closed() -> None:
    """An HTTP/1.0 client reads until the end, so there is one."""
    async with talking() as (client, _):
        await client.send(b"POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi")
        answer = await client.answer()
        assert (answer.status, answer.body, answer.headers["connection"]) == (201, b"hi", "close")
        assert await client.rest() == b""


async def test_a_client_that_expects_100_continue_is_told_to() -> None:
    """A client such as curl asks before it sends a large body, and would wait a second for the answer."""
    async with talking() as (client, _):
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        assert (await client.answer()).status == 100
        await client.send(b"hi")
        assert (await client.answer()).body == b"hi"


async def test_chunks_and_trailers_are_read() -> None:
    """A chunked body is put together; what follows it as trailers changes nothing."""
    async with talking() as (client, _):
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        await client.send(b"2;note=1\r\nab\r\n1\r\nc\r\n0\r\nx-sum: 1\r\n\r\n")
        assert (await client.answer()).body == b"abc"
        assert (await client.post(b"next")).body == b"next"


async def test_the_answer_to_head_has_no_body() -> None:
    """HEAD gets the headers alone, or the next answer on the connection would be misread."""
    async with talking() as (client, _):
        await client.send(b"HEAD / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
        assert (await client.answer("HEAD")).headers["content-length"] == "2"
        assert (await client.post(b"next")).body == b"next"


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Two requests in one write get two answers, the first one's first."""
    async with talking() as (client, echo):
        await client.send(post(b"first", "/held") + post(b"second"))
        await eventually(lambda: echo.under_way == 1)
        echo.release.set()
        assert [(await client.answer()).body, (await client.answer()).body] == [b"first", b"second"]


async def test_connect_is_a_request_and_no_tunnel() -> None:
    """CONNECT with a path is answered as any other method, and what follows it is not read."""
    async with talking() as (client, _):
        await client.send(b"CONNECT / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_an_offer_to_upgrade_is_ignored(protocol: str) -> None:
    """A client that offers another protocol is served as HTTP/1.1, now and later, as Node does it."""
    async with talking() as (client, _):
        for body in (b"once", b"twice", bytes(100_000)):
            answer = await client.post(body, connection="Upgrade, HTTP2-Settings", upgrade=protocol)
            assert (answer.status, answer.body) == (201, body)
        assert (await client.post(b"plain")).body == b"plain"


# --- what bad clients see ---


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), id="TLS"),
        pytest.param(b"\x00\xff\xfe garbage \r\n\r\n", id="garbage"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"BREW /v1/events HTTP/1.1\r\nhost: x\r\n\r\n", id="a method nobody knows"),
        pytest.param(b"POST /v1/events HTTP/9.9\r\nhost: x\r\n\r\n", id="a version nobody knows"),
        pytest.param(b"CONNECT localhost:80 HTTP/1.1\r\nhost: x\r\n\r\nTLS", id="CONNECT"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", id="length below 0"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1x\r\n\r\n", id="length no number"),
        pytest.param(b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", id="two lengths"),
        pytest.param(
            b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n", id="no chunk"),
        pytest.param(b"POST / HTTP/1.1\r\nno colon\r\n\r\n", id="no header"),
        pytest.param(b"POST /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n", id="path not ASCII"),
    ],
)
async def test_what_is_no_http_is_refused_in_eventgates_shape(data: bytes) -> None:
    """Whatever is no request is answered 400 with JSON as EventGate writes it, and the connection ends."""
    async with talking() as (client, _):
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.reason, answer.json) == (400, "Bad Request", refusal())
        assert answer.headers == {
            "x-eventgate-sidecar": "refused",
            "content-type": "application/json; charset=utf-8",
            "content-length": str(len(answer.body)),
            "connection": "close",
        }
        assert await client.rest() == b""


async def test_rubbish_behind_a_request_does_not_cost_it_its_answer() -> None:
    """A refusal never stands where an earlier answer is awaited: that one comes, and then the end."""
    async with talking() as (client, echo):
        await client.send(post(b"first", "/held") + b"\x00 rubbish\r\n\r\n")
        await eventually(lambda: echo.under_way == 1)
        await client.send(b"and more\r\n\r\n")
        echo.release.set()
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"first", "close")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"POST / HTTP/1.1\r\nx-long: " + b"x" * 70_000 + b"\r\n\r\n", id="one long header"),
        pytest.param(b"POST / HTTP/1.1\r\n" + b"x-short: y\r\n" * 7_000 + b"\r\n", id="many headers"),
        pytest.param(b"POST /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", id="a long path"),
    ],
)
async def test_headers_beyond_reason_are_refused(data: bytes) -> None:
    """Over 64 kB of headers end in a 400 that says so."""
    async with talking() as (client, _):
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.json) == (
            400,
            refusal("The request line and headers are over 65536 bytes."),
        )


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"POST / HTTP/1.1\r\nx-endless: ", id="header"),
        pytest.param(b"POST /", id="path"),
        pytest.param(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-endless: ", id="trailer"),
    ],
)
async def test_what_never_ends_is_not_kept(start: bytes) -> None:
    """A header without an end ends the connection at once, not when its time is over and the memory full."""
    async with talking(Limits(header_seconds=2 * PATIENCE)) as (client, _):
        await client.send(start)
        for _ in range(64):
            await client.send(b"x" * 65_536)
        await client.rest()


@pytest.mark.parametrize("data", [b"P", b"POST / HT", b"POST / HTTP/1.1\r\nhost: x\r\n"])
async def test_slow_headers_are_refused(data: bytes) -> None:
    """A request whose headers do not come to an end in their time is told so."""
    async with talking(SHORT) as (client, _):
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.json) == (400, refusal("No complete request within 0.05 s."))
        assert await client.rest() == b""


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n"])
async def test_a_connection_without_a_request_ends_without_a_word(data: bytes) -> None:
    """Nothing is written to a connection on which nothing was asked: it would pass for the next answer."""
    async with talking(SHORT) as (client, _):
        await client.send(data)
        assert await client.rest() == b""


async def test_an_idle_connection_ends_without_a_word() -> None:
    """A connection is closed when no further request came for its time."""
    async with talking(SHORT) as (client, _):
        assert (await client.post(b"x")).status == 201
        assert await client.rest() == b""


async def test_a_body_that_nobody_reads_does_not_hold_its_connection() -> None:
    """Where the answer came before the body's end and the rest never comes, the connection still ends."""

    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  it reads nothing
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(hasty, SHORT) as address, connected(address) as client:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        assert (await client.answer()).status == 404
        await client.send(b"and a bit")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="at once"),
        pytest.param(b"POST /v1/eve", id="in the request line"),
        pytest.param(b"POST / HTTP/1.1\r\nhost", id="in the headers"),
        pytest.param(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf", id="in the body"),
    ],
)
async def test_a_client_that_vanishes_leaves_nothing_behind(data: bytes) -> None:
    """However far a request got, its connection and its task are gone when its client is."""
    echo = Echo()
    async with serving(echo) as address:
        async with connected(address) as client:
            await client.send(data)
        await eventually(lambda: echo.under_way == 0)
        async with connected(address) as other:
            assert (await other.post(b"others")).body == b"others"


async def test_a_client_that_vanishes_does_not_cancel_its_request() -> None:
    """What an application began, it finishes, though nobody awaits the answer any more."""
    echo = Echo()
    async with serving(echo) as address:
        async with connected(address) as client:
            await client.send(post(b"x", "/held"))
            await eventually(lambda: echo.under_way == 1)
        echo.release.set()
        await eventually(lambda: echo.finished == 1)


# --- addresses, headers, the end ---


@pytest.mark.parametrize("address", ["", "8888", ":8888", "localhost:", "localhost:http", "localhost:65536", "a:-1"])
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    """A wrong `--listen` is answered with how to write it."""
    with pytest.raises(SettingError) as raised:
        bind(address)
    assert str(raised.value) == f"{address!r} is no address; write host:port, as 127.0.0.1:8888"


def test_an_address_in_use_is_named() -> None:
    """Who starts a second sidecar reads which address is taken."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SettingError) as raised:
            bind(address)
    assert str(raised.value) == f"cannot listen on {address}: Address already in use"


def test_a_name_without_an_address_is_named() -> None:
    """A host that cannot be found is a setting to mend, not a traceback."""
    with pytest.raises(SettingError, match=r"^cannot listen on no-such-host\.invalid:0: "):
        bind("no-such-host.invalid:0")


def test_ipv6_is_written_in_brackets() -> None:
    """`[::1]:8888` listens on IPv6's loopback."""
    with bind("[::1]:0") as listening:
        assert listening.getsockname()[0] == "::1"


def test_headers_say_how_the_request_ended() -> None:
    """Every answer names its outcome; only one with a body has a type, only one to repeat has a time."""
    assert headers_of(Answer(201, "fine", "delivered; upstream=staging")) == [
        (b"x-eventgate-sidecar", b"delivered; upstream=staging"),
        (b"content-length", b"0"),
    ]
    assert headers_of(Answer(503, "later", "failed", b"{}", retry_after=1)) == [
        (b"x-eventgate-sidecar", b"failed"),
        (b"content-length", b"2"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"retry-after", b"1"),
    ]


def test_requests_under_way_have_at_least_their_time_on_stop() -> None:
    """A deadline of 4 s and a half is not rounded down to 4 s when the sidecar stops."""
    assert make_server(Echo(), 4.5).config.timeout_graceful_shutdown == 5


async def test_a_server_that_stops_finishes_what_is_under_way() -> None:
    """Told to exit, it takes no new connection and answers the request it has."""
    echo = Echo()
    server, listening = make_server(echo, 5.0), bind("127.0.0.1:0")
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listening]))
        async with connected(address) as client:
            await client.send(post(b"last", "/held"))
            await eventually(lambda: echo.under_way == 1)
            server.should_exit = True
            await eventually(lambda: listening.fileno() == -1)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address.split(":"))
            echo.release.set()
            answer = await client.answer()
            assert (answer.body, answer.headers["connection"]) == (b"last", "close")
