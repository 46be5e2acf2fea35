"""The emulated model server creates valid events, and sends them as Lift Wing does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sidecar.demo import modelserver
from sidecar.demo.emulator.ajv import Validator
from sidecar.demo.emulator.gate import EventGateEmulator, Fault
from sidecar.demo.emulator.server import running
from sidecar.demo.modelserver import KINDS, Kind, Posted

SCHEMAS = Path(modelserver.__file__).parent / "emulator" / "schemas"


async def sent_to(emulator: EventGateEmulator, events: int) -> list[Posted]:
    """Let the model server send a few events to an emulated EventGate."""
    posts: list[Posted] = []
    async with asyncio.timeout(20), running(emulator) as url:
        await modelserver.stream(f"{url}/v1/events", posts, lambda: None, events=events, seconds=0.01)
    return posts


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.stream} {kind.wrong}")
@pytest.mark.parametrize("number", [0, 1, 4711])
def test_events_match_their_schemas(kind: Kind, number: int) -> None:
    """Except for those meant to be invalid."""
    event = kind.make(kind.stream, number)
    schema = json.loads((SCHEMAS / f"{event['$schema'][1:]}.json").read_text())
    assert bool(Validator(schema).errors(event)) == (kind.status == 400)
    assert event["meta"]["stream"] == kind.stream


def test_no_two_events_share_an_id() -> None:
    """So an event can be found by its id."""
    ids = [kind.make(kind.stream, 0)["meta"]["id"] for kind in KINDS for _ in range(10)]
    assert len(set(ids)) == len(ids)


async def test_posted_has_the_bytes_sent() -> None:
    """One event in each POST, with aiohttp's own User-Agent."""
    emulator = EventGateEmulator()
    posts = await sent_to(emulator, 40)
    sent = {post.body.decode() for post in posts if post.status == 201}
    assert {record["raw"] for record in emulator.records} == sent
    assert all("aiohttp" in record["headers"]["user-agent"] for record in emulator.records)


async def test_it_sends_the_requested_number_of_events() -> None:
    """Give or take one of a pair; the first 30 have every kind."""
    posts = await sent_to(EventGateEmulator(), 30)
    assert len(posts) in (30, 31)
    assert {post.kind for post in posts} == set(KINDS)


@pytest.mark.parametrize(("mode", "status"), [("unavailable", 503), ("refuse", 0)])
async def test_a_failure_is_recorded(mode: str, status: int) -> None:
    """An error status, or no answer; the other events are still sent."""
    emulator = EventGateEmulator()
    emulator.fault = Fault(mode=mode)  # type: ignore[arg-type]
    posts = await sent_to(emulator, 5)
    assert [post.status for post in posts] == [status] * len(posts)
