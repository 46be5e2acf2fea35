"""The listener with misbehaving clients, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from sidecar.intake.answer import Answer
from sidecar.intake.budget import ByteBudget
from sidecar.intake.request import EventsRequest, Limits
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


HELD, LAST = "/v1/events?held", "/v1/events?last"
TARGETS = pytest.mark.parametrize("held", [HELD, "/held"], ids=["events", "ASGI"])


class Echo:
    """Answers with what it read, as taker and as ASGI application; holds answers back on request."""

    def __init__(self) -> None:
        """Nothing is held yet."""
        self._released = asyncio.Event()
        self._held: list[EventsRequest] = []
        self.under_way = 0
        self.finished = 0
        self.budget = ByteBudget()

    def release(self) -> None:
        """Answer what is held, and hold nothing any more."""
        self._released.set()
        for request in self._held:
            self._answer(request)

    def begins(self, _: EventsRequest) -> None:
        """Take a POST of events."""
        self.under_way += 1

    def part(self, request: EventsRequest, chunk: bytes) -> None:
        """Keep it."""
        request.collected += chunk

    def complete(self, request: EventsRequest) -> None:
        """Answer it, now or when it is released."""
        if request.query == b"held" and not self._released.is_set():
            self._held.append(request)
        else:
            self._answer(request)

    def too_slow(self, request: EventsRequest, seconds: float) -> None:
        """Say so."""
        self.under_way -= 1
        request.answer(Answer(408, f"Not within {seconds:g} s.", "refused"), close=True)

    def gone(self, _: EventsRequest) -> None:
        """Forget it."""
        self.under_way -= 1

    def _answer(self, request: EventsRequest) -> None:
        body = bytes(request.collected)
        self.under_way -= 1
        self.finished += 1
        request.answer(Answer(201, f"Read {len(body)} bytes.", "delivered", body), close=request.query == b"last")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer any other request."""
        self.under_way += 1
        try:
            if scope["path"] == "/early":
                await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body", "body": b""})
                self.finished += 1
                return
            body = b""
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                more = message.get("more_body", False)
            if scope["path"] == "/held":
                await self._released.wait()
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 201, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            self.finished += 1
        finally:
            self.under_way -= 1


@contextlib.asynccontextmanager
async def talking(limits: Limits | None = None) -> AsyncIterator[tuple[Client, Echo]]:
    """One connection to an `Echo`; afterwards nothing of it is left."""
    echo = Echo()
    async with serving(echo, limits, echo, echo.budget) as address, connected(address) as client:
        yield client, echo


def refusal(detail: str = "Invalid HTTP request received.") -> dict[str, object]:
    """Return the JSON of a refusal of malformed HTTP."""
    return {**NOT_HTTP, "detail": detail}


# --- what good clients see ---


async def test_the_reason_phrase_reaches_the_client() -> None:
    """It says what became of the events, as in EventGate."""
    async with talking() as (client, _):
        answer = await client.post(b"four")
        assert (answer.status, answer.reason, answer.body) == (201, "Read 4 bytes.", b"four")


async def test_a_connection_serves_many_requests() -> None:
    """It is kept open for the next POST."""
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
    """If the taker asks for that."""
    async with talking() as (client, _):
        answer = await client.post(b"x", LAST)
        assert (answer.body, answer.headers["connection"]) == (b"x", "close")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "before", [b"", post(b"", upgrade="h2c", connection="upgrade")], ids=["alone", "after an offer"]
)
async def test_nothing_is_taken_after_the_last_request(before: bytes) -> None:
    """A client that asked to close gets no further answer, so nothing else may be delivered."""
    async with talking() as (client, echo):
        await client.send(before + post(b"last", connection="close") + post(b"too late") * 2)
        assert (await client.rest()).endswith(b"\r\n\r\nlast")
        assert echo.finished == 1 + bool(before)


async def test_http_1_0_is_answered_and_closed() -> None:
    """An HTTP/1.0 client reads to the end of the connection."""
    async with talking() as (client, _):
        await client.send(b"POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi")
        answer = await client.answer()
        assert (answer.status, answer.body, answer.headers["connection"]) == (201, b"hi", "close")
        assert await client.rest() == b""


async def test_a_client_that_expects_100_continue_gets_it() -> None:
    """Curl waits a second for it before sending a large body."""
    async with talking() as (client, _):
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        assert (await client.answer()).status == 100
        await client.send(b"hi")
        assert (await client.answer()).body == b"hi"


async def test_chunks_and_trailers_are_read() -> None:
    """Chunks are joined, and trailers ignored."""
    async with talking() as (client, _):
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        await client.send(b"2;note=1\r\nab\r\n1\r\nc\r\n0\r\nx-sum: 1\r\n\r\n")
        assert (await client.answer()).body == b"abc"
        assert (await client.post(b"next")).body == b"next"


async def test_the_answer_to_head_has_no_body() -> None:
    """Otherwise the next answer on the connection would be misread."""
    async with talking() as (client, _):
        await client.send(b"HEAD / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
        assert (await client.answer("HEAD")).headers["content-length"] == "2"
        assert (await client.post(b"next")).body == b"next"


@TARGETS
async def test_pipelined_requests_are_answered_in_order(held: str) -> None:
    """Two requests in one write get two answers."""
    async with talking() as (client, echo):
        await client.send(post(b"first", held) + post(b"second"))
        await eventually(lambda: echo.under_way > 0)
        echo.release()
        assert [(await client.answer()).body, (await client.answer()).body] == [b"first", b"second"]


async def test_connect_does_not_open_a_tunnel() -> None:
    """It is answered like any other method, and what follows is not read."""
    async with talking() as (client, _):
        await client.send(b"CONNECT / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""


@pytest.mark.parametrize("headers", [{}, {"upgrade": "h2c", "connection": "upgrade"}], ids=["plain", "offers"])
@TARGETS
async def test_pipelined_requests_have_a_maximum(held: str, headers: dict[str, str]) -> None:
    """The first 16 in one piece are answered, then the connection ends."""
    async with talking() as (client, echo):
        await client.send(post(b"first", held, **headers) + post(b"x", **headers) * 3000)
        await eventually(lambda: echo.under_way > 0)
        echo.release()
        answers = [await client.answer() for _ in range(16)]
        assert [each.body for each in answers] == [b"first"] + [b"x"] * 15
        assert [each.headers.get("connection") for each in answers] == [None] * 15 + ["close"]
        assert await client.rest() == b""
        assert echo.finished == 16


async def test_thousands_of_quick_requests_have_a_maximum_too() -> None:
    """A client that does not wait for answers must not delay others."""
    async with talking() as (client, echo):
        await client.send(post(b"x") * 3000)
        await client.rest()
        assert 16 < echo.finished < 200


async def test_requests_of_both_kinds_are_answered_in_order() -> None:
    """Events and other requests on one connection, whichever is delayed."""
    async with talking() as (client, echo):
        targets = [HELD, "/other", "/v1/events", "/held", "/v1/events"]
        await client.send(b"".join(post(b"%d" % number, target) for number, target in enumerate(targets)))
        await eventually(lambda: echo.under_way > 0)
        echo.release()
        assert [(await client.answer()).body for _ in targets] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_client_may_close_its_half_after_its_last_request() -> None:
    """It still gets its answer."""
    async with talking() as (client, echo):
        await client.send(post(b"x", HELD))
        client.writer.write_eof()
        await eventually(lambda: echo.under_way == 1)
        echo.release()
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"x", "close")
        assert await client.rest() == b""


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_an_offer_to_upgrade_is_ignored(protocol: str) -> None:
    """The client is served as HTTP/1.1, as by Node."""
    async with talking() as (client, _):
        for body in (b"once", b"twice", bytes(100_000)):
            answer = await client.post(body, connection="Upgrade, HTTP2-Settings", upgrade=protocol)
            assert (answer.status, answer.body) == (201, body)
        assert (await client.post(b"plain")).body == b"plain"


@pytest.mark.parametrize("target", ["/v1/events", "/other"], ids=["events", "ASGI"])
async def test_a_declined_offer_leaves_the_other_headers(target: str) -> None:
    """A client that offers an upgrade and asks to close gets its answer, and the connection closes."""
    async with talking() as (client, _):
        await client.send(post(b"x", target, connection="upgrade, close", upgrade="h2c"))
        assert (await client.answer()).body == b"x"
        assert await client.rest() == b""


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
        pytest.param(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", id="two lengths"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n", id="no chunk"),
        pytest.param(b"POST / HTTP/1.1\r\nno colon\r\n\r\n", id="no header"),
        pytest.param(b"POST /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n", id="path not ASCII"),
    ],
)
async def test_malformed_http_is_refused_in_eventgates_shape(data: bytes) -> None:
    """With a 400 in JSON, and the connection ends."""
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


@TARGETS
async def test_garbage_after_a_request_does_not_replace_its_answer(held: str) -> None:
    """The answer comes first, then the connection ends."""
    async with talking() as (client, echo):
        await client.send(post(b"first", held) + b"\x00 rubbish\r\n\r\n")
        await eventually(lambda: echo.under_way == 1)
        await client.send(b"and more\r\n\r\n")
        echo.release()
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"first", "close")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"POST / HTTP/1.1\r\nx-long: " + b"x" * 70_000 + b"\r\n\r\n", id="one long header"),
        pytest.param(b"POST /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", id="a long path"),
    ],
)
async def test_large_headers_are_refused(data: bytes) -> None:
    """Over 64 kB, with a 400 that says so."""
    async with talking() as (client, _):
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.json) == (
            400,
            refusal("The request line and headers are over 65536 bytes."),
        )


async def test_many_headers_are_refused() -> None:
    """Over 100, with a 400 that says so, however short; 100 are accepted."""
    async with talking() as (client, _):
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 99 + b"\r\n")
        assert (await client.answer()).status == 201
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n")
        answer = await client.answer()
        assert (answer.status, answer.json) == (400, refusal("There are more than 100 headers."))


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"POST / HTTP/1.1\r\nx-endless: ", id="header"),
        pytest.param(b"POST /", id="path"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-endless: ", id="trailer"),
    ],
)
async def test_an_endless_header_ends_the_connection(start: bytes) -> None:
    """At once, not after a timeout with the memory full."""
    async with talking(Limits(header_seconds=2 * PATIENCE)) as (client, _):
        await client.send(start)
        for _ in range(64):
            await client.send(b"x" * 65_536)
        await client.rest()


@pytest.mark.parametrize("data", [b"P", b"POST / HT", b"POST / HTTP/1.1\r\nhost: x\r\n"])
async def test_slow_headers_are_refused(data: bytes) -> None:
    """After their time."""
    async with talking(SHORT) as (client, _):
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.json) == (400, refusal("No complete request within 0.05 s."))
        assert await client.rest() == b""


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n"])
async def test_a_connection_without_a_request_is_closed_silently(data: bytes) -> None:
    """Anything written would be taken for the answer to the next request."""
    async with talking(SHORT) as (client, _):
        await client.send(data)
        assert await client.rest() == b""


async def test_an_idle_connection_is_closed_silently() -> None:
    """After its time."""
    async with talking(SHORT) as (client, _):
        assert (await client.post(b"x")).status == 201
        assert await client.rest() == b""


async def test_an_answer_may_take_longer_than_its_request() -> None:
    """A complete request has no deadline; the next one on the connection has."""
    echo = Echo()
    async with serving(echo, SHORT, echo) as address, connected(address) as client:
        await client.send(post(b"held", HELD))
        async with connected(address) as later:
            assert await later.rest() == b"", "the time of the one before is up as well"
        echo.release()
        assert (await client.answer()).body == b"held"
        assert await client.rest() == b""


async def test_an_incomplete_body_after_the_answer_does_not_keep_the_connection() -> None:
    """It still ends."""

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
        pytest.param(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf", id="in the body"),
    ],
)
async def test_a_client_that_vanishes_leaves_nothing_behind(data: bytes) -> None:
    """Connection and task are gone, however far the request got."""
    echo = Echo()
    async with serving(echo, taker=echo) as address:
        async with connected(address) as client:
            await client.send(data)
        await eventually(lambda: echo.under_way == 0)
        async with connected(address) as other:
            assert (await other.post(b"others")).body == b"others"


@TARGETS
async def test_a_client_that_vanishes_does_not_cancel_its_request(held: str) -> None:
    """The application finishes it."""
    echo = Echo()
    async with serving(echo, taker=echo) as address:
        async with connected(address) as client:
            await client.send(post(b"x", held))
            await eventually(lambda: echo.under_way == 1)
        echo.release()
        await eventually(lambda: echo.finished == 1)


async def test_an_unread_answer_is_counted_and_cut_off() -> None:
    """After its time nothing is held for it."""
    echo = Echo()
    async with serving(echo, Limits(unread_seconds=0.2), echo, echo.budget) as address, connected(address) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(2):
            client.writer.write(post(bytes(8_000_000)))
        await eventually(lambda: echo.budget.held > 1_000_000)
        assert echo.finished == 1, "the second waits until the first is read"
        await eventually(lambda: echo.budget.held == 0)


async def test_a_reader_that_gets_stuck_again_is_cut_off() -> None:
    """The timeout starts again after each read, within one answer too."""
    go = [asyncio.Event(), asyncio.Event()]

    async def in_two_parts(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  it reads nothing
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for each in go:
            await each.wait()
            await send({"type": "http.response.body", "body": bytes(8_000_000), "more_body": True})

    limits = Limits(unread_seconds=0.1, keep_alive_seconds=0.3)
    echo = Echo()
    async with serving(in_two_parts, limits, echo, echo.budget) as address, connected(address) as client:
        await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for number, each in enumerate(go):
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            each.set()
            await eventually(lambda: echo.budget.held > 1_000_000)
            if number == 0:
                client.writer.transport.resume_reading()  # type: ignore[attr-defined]
                assert (await client.answer()).status == 200
                assert len(await client.chunk()) == 8_000_000
                async with connected(address) as idle:
                    assert await idle.rest() == b"", "the time of the first part is up"
        await eventually(lambda: echo.budget.held == 0)


async def test_a_slow_reader_gets_all_its_answers() -> None:
    """If it reads in time."""
    async with talking() as (client, echo):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(3):
            client.writer.write(post(bytes(8_000_000)))
        await eventually(lambda: echo.budget.held > 1_000_000)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert [len((await client.answer()).body) for _ in range(3)] == [8_000_000] * 3
        assert (await client.post(b"next")).body == b"next"


@pytest.mark.parametrize("asked", [b"", b"POST / HTTP/1.1\r\nhost"], ids=["nothing", "half"])
async def test_a_new_connection_replaces_the_idlest(asked: bytes) -> None:
    """At the maximum number; those with requests stay."""
    echo = Echo()
    async with serving(echo, Limits(connections=3), echo) as address, contextlib.AsyncExitStack() as stack:
        busy, oldest, younger = [await stack.enter_async_context(connected(address)) for _ in range(3)]
        await busy.send(post(b"busy", HELD))
        await eventually(lambda: echo.under_way == 1)
        for client in (oldest, younger):
            await client.post(b"x")
            await client.send(asked)
        new = await stack.enter_async_context(connected(address))
        assert (await new.post(b"new")).body == b"new"
        assert await oldest.rest() == b""
        echo.release()
        assert (await busy.answer()).body == b"busy"


async def test_a_new_connection_gets_a_503_if_all_are_busy() -> None:
    """With `Retry-After`, and is served when one is free."""
    echo = Echo()
    async with serving(echo, Limits(connections=2), echo) as address, contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(connected(address)) for _ in range(2)]
        for client in busy:
            await client.post(b"x")
            await client.send(post(b"busy", HELD))
        await eventually(lambda: echo.under_way == 2)
        async with connected(address) as new:
            answer = await new.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.json["detail"] == "2 connections are in use; try again in a second"
            assert await new.rest() == b""
        echo.release()
        assert [(await client.answer()).body for client in busy] == [b"busy"] * 2
