"""Promises of `cluster`: metrics and probes, correct HTTP, low cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from sidecar.intake.budget import ByteBudget
from sidecar.intake.request import Limits
from sidecar.intake.server import serve_by
from sidecar.status.cluster import LIMITS, Cluster
from tests.fakes import Client, connected, eventually
from tests.running import listening
from tests.scripted import Recorder

MB = 1024 * 1024


class Metrics(Recorder):
    """Counts calls, and returns metrics of any size."""

    asked = 0
    size = 100

    def exposition(self) -> bytes:
        """Return the metrics."""
        self.asked += 1
        return super().exposition() + b"#" * self.size


class Desk:
    """A listener and its parts."""

    def __init__(self, limits: Limits) -> None:
        """It is not ready yet."""
        self.metrics = Metrics()
        self.ready = False
        self.budget = ByteBudget()
        self.cluster = Cluster(self.metrics, lambda: self.ready, self.budget, limits)


@contextlib.asynccontextmanager
async def talking(limits: Limits = LIMITS) -> AsyncIterator[tuple[Client, Desk, str]]:
    """One connection to the cluster's listener; afterwards nothing is held."""
    desk = Desk(limits)
    async with listening(serve_by(desk.cluster.connection, 1.0)) as address, connected(address) as client:
        yield client, desk, address
    assert (desk.budget.held, desk.cluster.connections) == (0, {})


def asks(path: str, method: str = "GET", more: str = "") -> bytes:
    """Return the bytes of a request."""
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n{more}\r\n".encode()


async def test_metrics_are_prometheus_text() -> None:
    """Again and again on one connection."""
    async with talking() as (client, _, _):
        for _ in range(3):
            await client.send(asks("/metrics"))
            answer = await client.answer()
            assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, "text/plain")
            assert b'eventgate_sidecar_info{version="' in answer.body


async def test_probes() -> None:
    """/livez is always 200; /readyz is 503 until events can be taken."""
    async with talking() as (client, desk, _):
        for path, ready, status, words in (
            ("/livez", False, 200, b"the event loop turns\n"),
            ("/readyz", False, 503, b"starting\n"),
            ("/readyz?verbose", True, 200, b"ready\n"),
        ):
            desk.ready = ready
            await client.send(asks(path))
            answer = await client.answer()
            assert (answer.status, answer.body) == (status, words)


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/nope"])
async def test_head_is_get_without_a_body(path: str) -> None:
    """With the same headers, including the length."""
    async with talking() as (client, desk, _):
        desk.metrics.size = 0
        await client.send(asks(path))
        body = (await client.answer()).body
        await client.send(asks(path, "HEAD") + asks("/livez"))
        assert int((await client.answer("HEAD")).headers["content-length"]) == pytest.approx(len(body), abs=50)
        assert (await client.answer()).body == b"the event loop turns\n"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/_sidecar/status", 404),
        ("POST", "/v1/events", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/livez", 405),
    ],
)
async def test_the_cluster_sees_no_events(method: str, path: str, status: int) -> None:
    """A body is skipped, and the connection stays open."""
    async with talking() as (client, _, _):
        await client.send(asks(path, method, "content-length: 9\r\n") + b"some")
        answer = await client.answer()
        assert (answer.status, answer.headers.get("allow")) == (status, "GET, HEAD" if status == 405 else None)
        await client.send(b"thing" + asks("/livez"))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /livez HTTP/1.0\r\n\r\n", id="HTTP/1.0"),
        pytest.param(asks("/livez", more="connection: close\r\n"), id="asked for"),
        pytest.param(asks("/livez", more="connection: upgrade, close\r\nupgrade: h2c\r\n"), id="an offer"),
        pytest.param(asks("/livez", more="content-length: 1000000\r\n"), id="a large body"),
        pytest.param(asks("/livez", more="transfer-encoding: chunked\r\n") + b"Z\r\n", id="chunks"),
    ],
)
async def test_when_a_connection_ends(data: bytes) -> None:
    """After one answer, and nothing that follows is read."""
    async with talking() as (client, _, _):
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        await client.send(asks("/livez"))
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", "An HTTP/1.1 request needs exactly one Host header."),
        (asks("/livez", more="host: y\r\n"), "An HTTP/1.1 request needs exactly one Host header."),
        (b"\x16\x03\x01 \r\n\r\n", "Invalid HTTP request received."),
        (asks("/livez", more="x y\r\n"), "Invalid HTTP request received."),
        (asks("/livez", more="content-length: -1\r\n"), "Invalid HTTP request received."),
        (
            asks("/" + "x" * LIMITS.header_bytes)[:-2],
            f"The request line and headers are over {LIMITS.header_bytes} bytes.",
        ),
    ],
)
async def test_malformed_requests_are_refused(data: bytes, words: str) -> None:
    """With 400, as by the other listener, and the connection ends."""
    async with talking() as (client, _, _):
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.json["detail"], answer.headers["connection"]) == (400, words, "close")
        assert await client.rest() == b""


async def test_a_request_may_come_in_pieces() -> None:
    """Byte by byte, after empty lines, or with an offer to upgrade."""
    async with talking() as (client, desk, _):
        for byte in b"\r\n" + asks("/livez", more="connection: upgrade\r\nupgrade: h2c\r\n"):
            await client.send(bytes([byte]))
        assert (await client.answer()).status == 200
        await client.send(asks("/livez")[:-9])
        await eventually(lambda: desk.budget.held > 0)


async def test_pipelined_requests_are_answered_in_order_and_bounded() -> None:
    """More than the maximum end the connection."""
    async with talking() as (client, _, _):
        await client.send((asks("/metrics") + asks("/livez")) * (LIMITS.pipelined // 2))
        answers = [await client.answer() for _ in range(LIMITS.pipelined)]
        assert [each.body[:5] for each in answers] == [b"# HEL", b"the e"] * (LIMITS.pipelined // 2)
        await client.send(asks("/livez") * 20)
        assert [(await client.answer()).status for _ in range(LIMITS.pipelined + 1)] == [200] * LIMITS.pipelined + [400]


async def test_concurrent_scrapes_share_the_metrics() -> None:
    """They are rendered a few times, not once for each."""
    async with talking() as (_, desk, address), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(address)) for _ in range(50)]
        for client in clients:
            client.writer.write(asks("/metrics"))
        assert {(await client.answer()).status for client in clients} == {200}
        assert desk.metrics.asked < 50


@pytest.mark.parametrize(("data", "says"), [(b"GET /liv", b"No complete request within 0.05 s."), (b"", b"")])
async def test_incomplete_requests_time_out(data: bytes, says: bytes) -> None:
    """With an answer; an idle connection is closed silently."""
    async with talking(Limits(header_seconds=0.05, keep_alive_seconds=0.1)) as (client, _, _):
        await client.send(data)
        rest = await client.rest()
        assert says in rest
        assert bool(rest) is bool(says)


async def test_unread_metrics_are_counted_and_cut_off() -> None:
    """After their time, within the budget."""
    async with talking(Limits(unread_seconds=0.3)) as (_, desk, address), contextlib.AsyncExitStack() as stack:
        desk.metrics.size = 9 * MB
        for _ in range(6):
            client = await stack.enter_async_context(connected(address))
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.writer.write(asks("/metrics"))
            await asyncio.sleep(0)
        await eventually(lambda: desk.budget.held > MB)
        assert desk.budget.held <= desk.budget.size
        await eventually(lambda: desk.budget.held == 0)


async def test_a_slow_reader_gets_all_metrics() -> None:
    """And the connection stays open."""
    async with talking() as (client, desk, _):
        desk.metrics.size = 8 * MB
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(asks("/metrics"))
        await eventually(lambda: desk.budget.held > MB)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.answer()).body) > 8 * MB
        await client.send(asks("/livez"))
        assert (await client.answer()).status == 200


async def test_an_incomplete_request_gets_a_503_if_the_budget_is_used_up() -> None:
    """A complete one, which takes no memory, is answered."""
    async with talking() as (client, desk, _):
        desk.budget.held += desk.budget.size
        await client.send(asks("/livez"))
        assert (await client.answer()).status == 200
        await client.send(b"GET")
        answer = await client.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        desk.budget.held -= desk.budget.size


async def test_a_new_connection_replaces_the_idlest() -> None:
    """So many connections do not lock out the kubelet."""
    async with (
        talking(Limits(connections=2)) as (oldest, desk, address),
        connected(address) as younger,
        connected(address) as newest,
    ):
        assert await oldest.rest() == b""
        for client in (younger, newest):
            await client.send(asks("/livez"))
            assert (await client.answer()).status == 200
        assert len(desk.cluster.connections) == 2
