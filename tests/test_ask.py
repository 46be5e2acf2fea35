"""Promises of `ask`: a running sidecar is asked in a bounded time, and what is none is told from it."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.ask import explained_by, status_of
from sidecar.errors import SettingError
from tests.anyroutes import event_of
from tests.fakes import FakeEventGate, answer, refusing

EVENT = event_of({"meta": {"stream": "s"}})


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
        assert await complaint(address) == f"no sidecar answers at {address}: Connection refused"
    async with FakeEventGate(answer(200, "OK", "<html>")) as fake:
        assert await complaint(fake.address) == f"what answers at {fake.address} is no sidecar"
    async with FakeEventGate(answer(403, "Forbidden", '{"detail": "not you"}')) as fake:
        assert await complaint(fake.address) == f"the sidecar at {fake.address} refuses: not you"
    assert await complaint("nowhere") == "'nowhere' is no address; write host:port, as 127.0.0.1:8888"


async def test_a_sidecar_that_listens_everywhere_is_asked_here() -> None:
    """0.0.0.0 is an address to listen on, and none to call somebody by."""
    async with FakeEventGate(answer(200, "OK", "{}")) as fake:
        everywhere = fake.address.replace("127.0.0.1", "0.0.0.0")
        assert await asyncio.to_thread(explained_by, everywhere, EVENT) == {}
        assert fake.requests[0].headers["host"] == fake.address
