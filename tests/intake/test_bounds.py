"""Promises of `bounds`: memory of a connection is counted before it is used, and given back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from sidecar.intake.bounds import ASKED_BYTES
from sidecar.intake.budget import ByteBudget, GatewayBudget
from sidecar.intake.request import Limits
from tests.fakes import Client, connected, eventually, post
from tests.intake.test_protocol import HELD, LAST, TARGETS, Echo, refusal
from tests.running import serving

TINY = "Over 65536 bytes of the body are not data: send larger chunks, or no extensions."
START = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def talking(size: int, limits: Limits | None = None) -> AsyncIterator[tuple[Client, Echo]]:
    """Yield one connection to an `Echo` with a budget of this size; afterwards nothing may be held."""
    echo = Echo()
    echo.budget = ByteBudget(size, kept_free=0)
    async with serving(echo, limits, echo, echo.budget) as address, connected(address) as client:
        yield client, echo


async def test_incomplete_headers_are_counted() -> None:
    """With the overhead of each; once they are complete they are no longer counted."""
    async with talking(100_000) as (client, echo):
        await client.send(post(b"x").partition(b"\r\n\r\n")[0] + b"\r\n" + b"a:b\r\n" * 50)
        await eventually(lambda: echo.budget.held > 50 * 128)
        await client.send(b"\r\nx")
        assert (await client.answer()).body == b"x"
        assert echo.budget.held == 0


@pytest.mark.parametrize("more", [b"a: b\r\n" * 20, b"x: " + b"y" * 5000], ids=["many", "long"])
async def test_headers_without_room_get_a_retry_after(more: bytes) -> None:
    """With 503, and the connection ends."""
    async with talking(2000) as (client, _):
        await client.send(START + more)
        answer = await client.answer()
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
        assert await client.rest() == b""


async def test_an_asgi_request_is_counted_until_it_is_answered() -> None:
    """With its body, and its task."""
    async with talking(100_000) as (client, echo):
        await client.send(post(bytes(5000), "/held"))
        await eventually(lambda: echo.budget.held > ASKED_BYTES + 5000)
        echo.release()
        assert len((await client.answer()).body) == 5000
        assert echo.budget.held == 0


async def test_an_asgi_request_beside_events_is_given_back() -> None:
    """Whatever the order of requests of both kinds on a connection, nothing is counted in the end."""
    async with talking(1_000_000) as (client, echo):
        await client.send(post(b"1", HELD) + post(b"2", "/other") + post(b"3"))
        await eventually(lambda: echo.budget.held > ASKED_BYTES)
        echo.release()
        assert [(await client.answer()).body for _ in range(3)] == [b"1", b"2", b"3"]
        assert (echo.under_way, echo.budget.held) == (0, 0)


@pytest.mark.parametrize("size", [100, ASKED_BYTES + 4000], ids=["its head", "its body"])
async def test_an_asgi_request_without_room_is_refused(size: int) -> None:
    """With 503, before memory is used."""
    async with talking(size) as (client, _):
        await client.send(post(bytes(5000), "/other"))
        answer = await client.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert await client.rest() == b""


async def test_an_asgi_request_is_bounded() -> None:
    """At most one event to explain, whatever is sent."""
    async with talking(10_000_000, Limits(asked_bytes=20_000)) as (client, echo):
        await client.send(post(bytes(20_000), "/held"))
        answer = await client.answer()
        assert (answer.status, answer.json["title"]) == (500, "PayloadTooLargeError")
        await eventually(lambda: echo.budget.held == 0)


@TARGETS
async def test_a_broken_body_is_refused_behind_earlier_answers(held: str) -> None:
    """The earlier request gets its answer, then this one its refusal."""
    async with talking(1_000_000) as (client, echo):
        await client.send(post(b"first", HELD) + b"POST " + held.encode() + CHUNKED + b"Z\r\n")
        await eventually(lambda: echo.under_way > 0)
        echo.release()
        assert (await client.answer()).body == b"first"
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        await eventually(lambda: echo.under_way == 0)


async def test_a_broken_body_gets_no_second_answer() -> None:
    """If the answer came before the body, the connection just ends."""
    async with talking(1_000_000) as (client, echo):
        await client.send(b"GET /early" + CHUNKED)
        assert (await client.answer()).status == 404
        await client.send(b"Z\r\n")
        assert await client.rest() == b""
        assert echo.finished == 1


async def test_rubbish_behind_an_early_answer_is_refused() -> None:
    """What follows a complete body is another request."""
    async with talking(1_000_000) as (client, _):
        await client.send(b"GET /early" + CHUNKED)
        assert (await client.answer()).status == 404
        await client.send(b"1\r\nx\r\n0\r\n\r\nrubbish\r\n\r\n")
        assert (await client.answer()).json == refusal()
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "chunk",
    [b"1;" + b"x" * 1000 + b"\r\ny\r\n", b"1;a=" + b"b" * 100 + b"\r\ny\r\n", b"3;" + b"x" * 60_000 + b"\r\nyyy\r\n"],
    ids=["long", "short", "very long"],
)
async def test_chunk_extensions_are_bounded(chunk: bytes) -> None:
    """More bytes than a head may have end the connection; a few do not matter."""
    async with talking(10_000_000) as (client, _):
        await client.send(b"POST /v1/events" + CHUNKED + chunk + b"0\r\n\r\n")
        assert (await client.answer()).status == 201
        await client.send(b"POST /v1/events" + CHUNKED + chunk * (100_000 // len(chunk) * 2 + 2))
        answer = await client.answer()
        assert (answer.status, answer.json) == (400, refusal(TINY))


@pytest.mark.parametrize(("size", "count", "status"), [(1, 900, 201), (1, 20_000, 400), (40, 5_000, 201)])
async def test_tiny_chunks_are_bounded(size: int, count: int, status: int) -> None:
    """A short body may come byte by byte; a long one may not."""
    async with talking(10_000_000) as (client, _):
        chunk = b"%x\r\n%b\r\n" % (size, b"y" * size)
        await client.send(b"POST /v1/events" + CHUNKED + chunk * count + b"0\r\n\r\n")
        answer = await client.answer()
        assert answer.status == status
        assert status == 400 or len(answer.body) == size * count


async def test_an_announced_body_may_come_a_byte_at_a_time() -> None:
    """With a Content-Length, the network may split it in any way."""
    async with talking(10_000_000) as (client, _):
        for byte in post(b"y" * 2000):
            await client.send(bytes([byte]))
        assert len((await client.answer()).body) == 2000


async def test_trailers_are_bounded() -> None:
    """Like headers: more of them end the connection."""
    async with talking(10_000_000) as (client, _):
        await client.send(b"POST /other" + CHUNKED + b"0\r\n" + b"a: b\r\n" * 200 + b"\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("", id="no host"),
        pytest.param("host: a\r\nhost: b\r\n", id="two hosts"),
    ],
)
@pytest.mark.parametrize("target", ["/v1/events", "/other"])
async def test_a_request_has_one_host(target: str, head: str) -> None:
    """RFC 9112, 3.2; HTTP/1.0 needs none."""
    async with talking(1_000_000) as (client, echo):
        await client.send(f"POST {target} HTTP/1.1\r\n{head}content-length: 1\r\n\r\nx".encode())
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        assert echo.finished == 0


@pytest.mark.parametrize("target", [LAST, "/other"])
@pytest.mark.parametrize("offer", ["upgrade: h2c\r\nconnection: upgrade\r\n", ""], ids=["with an offer", "plain"])
async def test_http_1_0_ends_after_its_answer(target: str, offer: str) -> None:
    """Even if it offers an upgrade: its client reads until the end."""
    async with talking(1_000_000) as (client, _):
        await client.send(f"POST {target} HTTP/1.0\r\n{offer}content-length: 1\r\n\r\nx".encode())
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (201, "close")
        assert await client.rest() == b""


async def test_an_answer_without_room_is_cut_off() -> None:
    """Unread parts of an answer are kept within the budget, or not at all."""
    async with talking(1_000_000) as (client, echo):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(post(bytes(9_000_000)))
        await eventually(lambda: echo.finished == 1)
        assert echo.budget.held == 0


async def test_an_address_has_no_more_connections_than_its_share() -> None:
    """One client of a gateway cannot take all connections; it is told to come back later."""
    echo = Echo()
    budget = GatewayBudget(connections=1)
    async with serving(echo, None, echo, budget) as address:
        async with connected(address) as client:
            await client.send(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await client.answer()).status == 201
            async with connected(address) as one_too_many:
                refused = await one_too_many.answer()
        async with connected(address) as client:
            await client.send(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await client.answer()).status == 201
    assert refused.status == 503
    assert "1 connections of 127.0.0.1 are in use" in refused.body.decode()
