"""Promises of `ask`: a running sidecar is asked in a bounded time, and what is none is told from it."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.errors import SettingError
from sidecar.status.ask import explained_by, status_of, tapped
from tests.anyroutes import event_of
from tests.fakes import FakeEventGate, Line, Received, Reply, answer, raw, refusing

EVENT = event_of({"meta": {"stream": "s"}})
CUT_OFF = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n3\r\n:\n\n\r\n"
"""A stream without an end."""


async def complaint(address: str) -> str:
    """What is said of whoever listens there."""
    with pytest.raises(SettingError) as raised:
        await asyncio.to_thread(explained_by, address, EVENT)
    return str(raised.value)


async def test_the_event_goes_to_the_sidecar_as_it_is() -> None:
    """Its bytes, to the one place that explains; the answer is what it says."""
    async with FakeEventGate(answer(200, "OK", '{"upstream": "main"}')) as fake:
        assert await asyncio.to_thread(explained_by, fake.address, EVENT) == {"upstream": "main"}
        (request,) = fake.requests
        assert (request.target, request.body) == ("/_sidecar/explain", EVENT.raw)


async def test_the_status_is_asked_for() -> None:
    """By a GET; the answer is what the sidecar says."""
    async with FakeEventGate(health=answer(200, "OK", '{"level": "well"}')) as fake:
        assert await asyncio.to_thread(status_of, fake.address) == {"level": "well"}
        assert fake.requests == []


async def test_what_is_no_sidecar_is_told() -> None:
    """Nobody, somebody who speaks no JSON, a sidecar that refuses, and an address that is none."""
    with refusing() as address:
        assert await complaint(address) == (
            f"no sidecar answers at {address}: Connection refused; say by --listen where it takes events"
        )
    async with FakeEventGate(answer(200, "OK", "<html>")) as fake:
        assert await complaint(fake.address) == f"what answers at {fake.address} is no sidecar"
    async with FakeEventGate(answer(403, "Forbidden", '{"detail": "not you"}')) as fake:
        assert await complaint(fake.address) == f"the sidecar at {fake.address} refuses: not you"
    assert await complaint("nowhere") == "'nowhere' is no address; write host:port, as 127.0.0.1:8888"


STREAM = {"content-type": "text/event-stream"}


async def heard(address: str) -> list[object]:
    """Return what passes there."""
    return await asyncio.to_thread(lambda: list(tapped(address, "a*", ["failed", "invalid"])))


async def test_what_passes_is_read_to_its_end() -> None:
    """Comments and all else but data are nothing to us; what is wanted stands in the query."""
    stream = 'retry: 2000\n\n:\n\ndata: {"event":"é"}\n\ndata: {"left_out":1,"lost":0}\n\nevent: end\ndata:\n\n'
    asked: list[str] = []

    async def sidecar(request: Received, line: Line) -> None:
        asked.append(request.target)
        await answer(200, "OK", stream, STREAM)(request, line)

    async with FakeEventGate(health=sidecar) as fake:
        assert await heard(fake.address) == [{"event": "é"}, {"left_out": 1, "lost": 0}]
    assert asked == ["/_sidecar/tap?stream=a%2A&outcome=failed&outcome=invalid"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer(403, "Forbidden", '{"detail": "the tap is off"}'), "the sidecar at {} refuses: the tap is off"),
        (answer(200, "OK", "{}"), "what answers at {} is no sidecar with a tap"),
        (answer(404, "Not Found", "<html>"), "what answers at {} is no sidecar"),
        (answer(200, "OK", "data: {\n\n", STREAM), "the sidecar at {} went away: JSONDecodeError("),
        (raw(CUT_OFF), "the sidecar at {} went away: its answer breaks off"),
    ],
    ids=["off", "no stream", "no sidecar", "no JSON", "cut off"],
)
async def test_a_tap_that_cannot_be_read_is_told(reply: Reply, words: str) -> None:
    """Whether it does not begin, or ends before its end."""

    async def once(request: Received, line: Line) -> None:
        await reply(request, line)
        line.close()

    async with FakeEventGate(health=once) as fake:
        with pytest.raises(SettingError) as raised:
            await heard(fake.address)
        assert str(raised.value).startswith(words.format(fake.address))


async def test_a_sidecar_that_listens_everywhere_is_asked_here() -> None:
    """0.0.0.0 is an address to listen on, and none to call somebody by."""
    async with FakeEventGate(answer(200, "OK", "{}")) as fake:
        everywhere = fake.address.replace("127.0.0.1", "0.0.0.0")
        assert await asyncio.to_thread(explained_by, everywhere, EVENT) == {}
        assert fake.requests[0].headers["host"] == fake.address
