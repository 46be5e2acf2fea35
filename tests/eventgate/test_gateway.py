"""What the end of a hand-over means, on real sockets: only one answer says that the gateway has the events."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.eventgate.gateway import Ended, Gateway
from tests.fakes import FakeEventGate, Reply, answer, close, eventually, hanging, refusing, stall

TAKEN = answer(202, headers={"x-eventgate-sidecar": "spooled; events=2"})


@pytest.mark.parametrize(
    ("reply", "ended"),
    [
        (TAKEN, Ended()),
        (
            answer(202, headers={"x-eventgate-sidecar": "spooled; events=1"}),
            Ended("it answered 202 Accepted", doubtful=True),
        ),
        (answer(202), Ended("it answered 202 Accepted, and is no gateway", doubtful=True)),
        (answer(201), Ended("it answered 201 Created, and is no gateway", doubtful=True)),
        (answer(300), Ended("it answered 300 Multiple Choices, and is no gateway")),
        (
            answer(500, headers={"x-eventgate-sidecar": "spooled; events=2"}),
            Ended("it answered 500 Internal Server Error"),
        ),
        (answer(400), Ended("it answered 400 Bad Request, and is no gateway")),
        (answer(499, "Odd"), Ended("it answered 499 Odd, and is no gateway")),
        (answer(502), Ended("it answered 502 Bad Gateway, and is no gateway", doubtful=True)),
        (
            answer(503, body='{"detail": "the spool is full"}', headers={"x-eventgate-sidecar": "refused"}),
            Ended("it answered 503 Service Unavailable: the spool is full"),
        ),
        (close, Ended("no answer: closed by the other side", doubtful=True)),
    ],
)
async def test_a_hand_over_succeeds_only_if_the_gateway_takes_all_events(reply: Reply, ended: Ended) -> None:
    """Whatever else is answered the events stay; where they may be there as well, that is said."""
    async with FakeEventGate(reply) as there:
        gateway = Gateway(f"http://{there.address}/v1/events", {"env": "staging", "isvc": "a b&c"})
        assert await gateway.post("127.0.0.1", b"body", 2) == ended
        gateway.close()
        (request,) = there.requests
    assert request.body == b"body"
    assert request.headers["x-eventgate-sidecar-labels"] == "env=staging&isvc=a+b%26c"
    assert request.headers["content-type"] == "application/vnd.eventgate-sidecar.spool"


async def test_a_gateway_with_https_gets_nothing_in_the_clear() -> None:
    """A server without TLS is refused, and sees no event."""
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.read(1000))
        writer.write(b"HTTP/1.1 202 Accepted\r\nx-eventgate-sidecar: spooled; events=2\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        ended = await Gateway(f"https://gateway.wmnet:{port}/v1/events", {}).post("127.0.0.1", b"body", 2)
    assert (ended.reason[:28], ended.doubtful) == ("cannot connect to 127.0.0.1:", False)
    assert seen[:1] == b"\x16"  # a TLS handshake
    assert b"body" not in seen


@pytest.mark.parametrize(("url", "port"), [("http://a/v1", 80), ("https://a/v1", 443), ("https://a:8888/v1", 8888)])
def test_the_default_port_depends_on_the_scheme(url: str, port: int) -> None:
    """As for every URL."""
    assert Gateway(url, {})._port == port


async def test_the_connection_is_kept() -> None:
    """A hand-over is many POSTs one after the other."""
    async with FakeEventGate(otherwise=TAKEN) as there:
        gateway = Gateway(f"http://{there.address}/v1/events", {})
        assert [await gateway.post("127.0.0.1", b"body", 2) for _ in range(3)] == [Ended()] * 3
        assert there.connections == 1
        gateway.close()


async def test_a_connection_that_the_gateway_ends_is_not_kept() -> None:
    """The next hand-over opens another."""
    last = answer(202, headers={"x-eventgate-sidecar": "spooled; events=2", "connection": "close"})
    async with FakeEventGate(last, TAKEN) as there:
        gateway = Gateway(f"http://{there.address}/v1/events", {})
        assert await gateway.post("127.0.0.1", b"body", 2) == Ended()
        assert await gateway.post("127.0.0.1", b"body", 2) == Ended()
        assert there.connections == 2
        gateway.close()


async def test_a_cancelled_hand_over_closes_its_connection() -> None:
    """Its answer must never be taken for that of the next."""
    async with FakeEventGate(stall) as there:
        gateway = Gateway(f"http://{there.address}/v1/events", {})
        assert gateway.host == "127.0.0.1"
        async with asyncio.TaskGroup() as tasks:
            posting = tasks.create_task(gateway.post("127.0.0.1", b"body", 2))
            await there.received(1)
            posting.cancel()
        await eventually(lambda: not there._lines)


async def test_a_refused_connection_leaves_no_event_in_doubt() -> None:
    """No byte of it was sent."""
    with refusing() as address:
        ended = await Gateway(f"http://{address}/v1/events", {}).post("127.0.0.1", b"body", 2)
    assert ended == Ended("cannot connect to 127.0.0.1: Connection refused")


async def test_a_gateway_that_cannot_be_connected_to_has_nothing() -> None:
    """Connecting times out, and no byte of it was sent."""
    with hanging() as address:
        ended = await Gateway(f"http://{address}/v1/events", {}).post("127.0.0.1", b"body", 2)
    assert ended == Ended("no connection to 127.0.0.1 within 1 s")
