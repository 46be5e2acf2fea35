"""Servers: their addresses, and how they stop."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import socket

import pytest
import uvloop

from sidecar.errors import SettingError
from sidecar.intake.budget import ByteBudget
from sidecar.intake.server import Server, bind, limits_here, make_server
from sidecar.status.cluster import LIMITS
from tests.fakes import PATIENCE, Client, connected, eventually, post
from tests.intake.test_protocol import TARGETS, Echo


def make(echo: Echo, graceful_seconds: float) -> Server:
    """Return a server whose requests `echo` answers."""
    return make_server(echo, echo, ByteBudget(), graceful_seconds)


@pytest.mark.parametrize("address", ["", "8888", ":8888", "localhost:", "localhost:http", "localhost:65536", "a:-1"])
def test_an_invalid_address_is_refused_with_an_example(address: str) -> None:
    """For `--listen`."""
    with pytest.raises(SettingError) as raised:
        bind(address)
    assert str(raised.value) == f"{address!r} is not an address; write host:port, such as 127.0.0.1:8888"


def test_an_address_in_use_is_named() -> None:
    """For someone who starts a second sidecar."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SettingError) as raised:
            bind(address)
    assert (
        str(raised.value)
        == f"cannot listen on {address}: Address already in use; stop what listens there, or use another port"
    )


def test_an_unknown_host_is_named() -> None:
    """It is a setting to fix, not a traceback."""
    with pytest.raises(SettingError, match=r"^cannot listen on no-such-host\.invalid:0: "):
        bind("no-such-host.invalid:0")


def test_ipv6_is_written_in_brackets() -> None:
    """`[::1]:8888` listens on IPv6's loopback."""
    with bind("[::1]:0") as listening:
        assert listening.getsockname()[0] == "::1"


@pytest.mark.looptime
async def test_an_idle_server_sleeps() -> None:
    """Without requests it sets no timers."""
    server, listening = make(Echo(), 1.0), bind("127.0.0.1:0")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0)
        timers: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert [timer for timer in timers if not timer.cancelled()] == []
        server.stop()


def test_requests_in_flight_have_their_time_at_the_stop() -> None:
    """A deadline of 4.5 s is not rounded down to 4 s."""
    assert make(Echo(), 4.5).config.timeout_graceful_shutdown == 5


def test_three_quarters_of_the_files_are_for_connections() -> None:
    """Two are for producers and one for the cluster; the others are left for EventGate and the spool."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (900, hard))
        assert limits_here().connections == 450
        assert limits_here(LIMITS, of=4) == dataclasses.replace(LIMITS, connections=225)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 10_000), hard))
        assert limits_here().connections == min(2048, min(hard, 10_000) // 2)
        assert limits_here(LIMITS, of=4) == LIMITS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@TARGETS
async def test_a_server_that_stops_finishes_requests_in_flight(held: str) -> None:
    """It takes no new connections."""
    echo = Echo()
    server, listening = make(echo, 5.0), bind("127.0.0.1:0")
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listening]))
        async with connected(address) as client:
            await client.send(post(b"last", held))
            await eventually(lambda: echo.under_way == 1)
            server.stop()
            await eventually(lambda: listening.fileno() == -1)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address.split(":"))
            echo.release()
            answer = await client.answer()
            assert (answer.body, answer.headers["connection"]) == (b"last", "close")


@pytest.mark.parametrize("turns", range(4))
def test_a_connection_accepted_at_the_stop_does_not_delay_it(turns: int) -> None:
    """It is answered, but not waited for."""

    async def stop_after(turns: int) -> bytes:
        echo = Echo()
        server, listening = make(echo, 60.0), bind("127.0.0.1:0")
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            await eventually(lambda: server.started)
            late = socket.create_connection(listening.getsockname())
            late.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            for _ in range(turns):
                await asyncio.sleep(0)
            server.stop()
            reader, writer = await asyncio.open_connection(sock=late)
            try:
                return await Client(reader, writer).rest()
            finally:
                writer.close()  # before the loop ends: a socket closed behind its back hangs it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `serve` does; asyncio's own may lose it
        assert runner.run(stop_after(turns)) == b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"
