"""Concurrent POSTs through a whole sidecar, on real sockets: few requests to EventGate, an answer for each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fakes import FakeEventGate, Line, Received, accept, after, answer, eventually, failures
from tests.running import sidecar, to_one

POSTS = 50


def body_of(number: int) -> bytes:
    """Return what a caller sends: every fifth an invalid event, every seventh three events, one of them invalid."""
    kind = "invalid" if number % 5 == 0 else "good"
    event = '{"meta":{"stream":"s","id":"%s"}, "kind":"%s", "score":1.0}'
    if number % 7:
        return (event % (number, kind)).encode()
    members = (event % (f"{number}-{index}", "invalid" if index == 1 else "good") for index in range(3))
    return f"[{', '.join(members)}]".encode()


async def judge(request: Received, line: Line) -> None:
    """Answer like EventGate: 413 for an array with poison in it, else by the kind of each event."""
    if any(event["kind"] == "poison" for event in request.events):
        await answer(413, "Payload Too Large", "too large")(request, line)
        return
    invalid: list[Mapping[str, Any]] = [
        {"status": "invalid", "event": event, "context": {"errorsText": f"{event['meta']['id']} is wrong"}}
        for event in request.events
        if event["kind"] == "invalid"
    ]
    if not invalid:
        await accept(request, line)
    elif len(invalid) == len(request.events):
        await failures(400, invalid=invalid)(request, line)
    else:
        await failures(207, invalid=invalid, error=[])(request, line)


async def test_concurrent_posts_share_arrays_and_get_their_own_answers(tmp_path: Path) -> None:
    """50 posts take few requests; each answer is byte for byte the one to a lone post."""
    held = asyncio.Event()
    bodies = [body_of(number) for number in range(POSTS)]
    async with FakeEventGate(otherwise=after(held, judge)) as eventgate:
        config = to_one(eventgate.address, coalesce={"linger": "1s"}, timeouts={"attempt": "3s"}, on_ambiguous="fail")
        async with sidecar(config, tmp_path) as running:
            async with asyncio.TaskGroup() as tasks:
                posts = [tasks.create_task(running.post(body)) for body in bodies]
                await eventually(lambda: running.runtime._events.in_flight == POSTS)
                held.set()
            requests = list(eventgate.requests)
            alone = [await running.post(body) for body in bodies]
            together = [post.result() for post in posts]
    assert [(each.status, each.reason, each.headers, each.body) for each in together] == [
        (each.status, each.reason, each.headers, each.body) for each in alone
    ]
    assert {each.status for each in together} == {201, 207, 400}
    assert len(requests) <= 5
    ids = [event["meta"]["id"] for request in requests for event in request.events]
    sent = [json.loads(body) for body in bodies]
    events = [event for each in sent for event in (each if isinstance(each, list) else [each])]
    assert sorted(ids) == sorted(event["meta"]["id"] for event in events)


async def test_a_refused_event_does_not_affect_others(tmp_path: Path) -> None:
    """Even if EventGate refuses every array with it."""
    held = asyncio.Event()
    bodies = [body_of(number).replace(b"invalid", b"good") for number in range(20)]
    bodies[13] = b'{"meta":{"stream":"s","id":"13"},"kind":"poison"}'
    async with FakeEventGate(otherwise=after(held, judge)) as eventgate:
        config = to_one(eventgate.address, coalesce={"linger": "1s"}, timeouts={"attempt": "3s"}, on_ambiguous="fail")
        async with sidecar(config, tmp_path) as running:
            async with asyncio.TaskGroup() as tasks:
                first = tasks.create_task(running.post(body_of(1)))
                await eventgate.received(1)
                posts = [tasks.create_task(running.post(body)) for body in bodies]
                await eventually(lambda: running.runtime._events.in_flight == len(posts) + 1)
                held.set()
            statuses = [post.result().status for post in (first, *posts)]
    assert statuses == [201] * 14 + [500] + [201] * 6


async def test_a_hung_array_does_not_delay_later_posts(tmp_path: Path) -> None:
    """They are sent after `linger`, and answered."""
    never = asyncio.Event()
    async with FakeEventGate(after(never, judge), otherwise=judge) as eventgate:
        config = to_one(eventgate.address, timeouts={"attempt": "3s"}, on_ambiguous="fail")
        async with sidecar(config, tmp_path) as running, asyncio.TaskGroup() as tasks:
            hung = tasks.create_task(running.post(body_of(1)))
            await eventgate.received(1)
            others = await asyncio.gather(*(running.post(body_of(number)) for number in (2, 3, 4)))
            assert ([each.status for each in others], hung.done()) == ([201] * 3, False)
            never.set()
        assert hung.result().status == 201
