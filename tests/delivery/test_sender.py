"""Delivery to an upstream with two endpoints, on real sockets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.delivery.retry import Undelivered
from sidecar.delivery.sender import Sender
from sidecar.eventgate.failures import FailureClass
from sidecar.events.outgoing import Load
from sidecar.events.results import EventStatus
from tests import scripted
from tests.fakes import (
    PATIENCE,
    FakeEventGate,
    Reply,
    after,
    answer,
    close,
    connected,
    drip,
    eventually,
    failures,
    hanging,
    post,
    refusing,
    reset,
    stall,
)
from tests.running import sidecar, to_one, upstream
from tests.scripted import EQIAD, Recorder, Seen, at, bare_pool, deliver, delivering, now, script

EVENT = b'{"meta":{"stream":"s","id":"a"},"n":1.0}'
INVALID = {"status": "invalid", "event": json.loads(EVENT), "context": {"errorsText": "is wrong"}}
TRACED = msgspec.structs.replace(scripted.EVENT, body=b"traced")
UNREACHABLE = "1 out of 1 events had failures and were not accepted. (0 invalid and 1 errored)."


def by(endpoint: str) -> str:
    """Return the header of an answer if `endpoint` took the event."""
    return f"delivered; upstream=main; endpoint={endpoint}; route=all"


async def test_the_preferred_endpoint_gets_everything(tmp_path: Path) -> None:
    """While it answers, the second sees no event."""
    async with FakeEventGate() as first, FakeEventGate(beside=first.address) as second:
        async with sidecar(to_one(first.address, second.address), tmp_path) as running:
            headers = [(await running.post(EVENT)).headers["x-eventgate-sidecar"] for _ in range(5)]
        assert (headers, len(second.requests)) == ([by("1")] * 5, 0)


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        pytest.param(answer(503, "Sorry", "no healthy upstream"), "infrastructure", id="503 as text"),
        pytest.param(answer(502, "Bad Gateway"), "infrastructure", id="502"),
        pytest.param(answer(500, "Oops", "<html>"), "infrastructure", id="500 not EventGate's"),
        pytest.param(answer(429, "Slow down", headers={"retry-after": "30"}), "throttled", id="429"),
        pytest.param(answer(503, "Wait", headers={"retry-after": "30"}), "throttled", id="503 for now"),
        pytest.param(answer(404, "Not Found"), "infrastructure", id="404"),
        pytest.param(answer(403, "Forbidden", "RBAC: access denied"), "infrastructure", id="403"),
        pytest.param(
            answer(302, "Found", headers={"location": "http://127.0.0.2/"}), "infrastructure", id="a redirect"
        ),
        pytest.param(answer(200, "OK", "ok"), "ambiguous", id="200 without a verdict"),
        pytest.param(answer(202, "Accepted"), "ambiguous", id="202 not asked for"),
        pytest.param(answer(207, "Multi-Status"), "ambiguous", id="207 without a verdict"),
        pytest.param(close, "ambiguous", id="closed"),
        pytest.param(reset, "ambiguous", id="reset"),
        pytest.param(stall, "ambiguous", id="no answer"),
        pytest.param(drip(b"HTTP/1.1 201 Created\r\n" * 99), "ambiguous", id="a slow answer"),
    ],
)
async def test_events_that_fail_at_one_endpoint_go_to_the_next(tmp_path: Path, reply: Reply, failure: str) -> None:
    """The producer gets a 201, and the second endpoint the same bytes with the same `meta.id`."""
    async with FakeEventGate(otherwise=reply) as first, FakeEventGate(beside=first.address) as second:
        config = to_one(
            first.address, second.address, timeouts={"connect": "100ms", "attempt": "300ms", "deadline": "1s"}
        )
        async with sidecar(config, tmp_path) as running:
            seen = await running.post(b'{"meta":{"stream":"s"}}', x_request_id="r")
            assert (seen.status, seen.headers["x-eventgate-sidecar"]) == (201, by("2"))
            labels = f'{{endpoint="1",result="{failure}",upstream="main"}}'
            async with asyncio.timeout(PATIENCE):
                while (await running.metrics("eventgate_sidecar_posts_total")).get(labels) != 1.0:
                    pass  # an attempt that was overtaken is counted when it ends
        (tried,), (taken,) = first.requests, second.requests
        assert (tried.body, tried.headers["x-request-id"]) == (taken.body, taken.headers["x-request-id"])
        assert len(tried.events[0]["meta"]["id"]) == 36


async def test_a_refused_connection_causes_no_error(tmp_path: Path) -> None:
    """The next endpoint takes over."""
    with refusing() as nobody:
        async with FakeEventGate(beside=nobody) as second:
            async with sidecar(to_one(nobody, second.address), tmp_path) as running:
                headers = [(await running.post(EVENT)).headers["x-eventgate-sidecar"] for _ in range(5)]
            assert headers == [by("2")] * 5


async def test_a_hung_datacenter_causes_no_error(tmp_path: Path) -> None:
    """If connecting hangs, the next endpoint takes over within the deadline, every time."""
    with hanging() as nobody:
        async with FakeEventGate(beside=nobody) as second:
            config = to_one(nobody, second.address, health_check={"timeout": "100ms"}, timeouts={"connect": "100ms"})
            async with sidecar(config, tmp_path) as running:
                headers = [(await running.post(EVENT)).headers["x-eventgate-sidecar"] for _ in range(5)]
            assert headers == [by("2")] * 5


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        pytest.param(failures(400, invalid=[INVALID]), 400, id="invalid"),
        pytest.param(answer(413, "Too Large"), 500, id="413"),
        pytest.param(answer(431, "Request Header Fields Too Large"), 500, id="431"),
    ],
)
async def test_a_verdict_or_a_refusal_is_final(tmp_path: Path, reply: Reply, status: int) -> None:
    """The second endpoint is not tried."""
    async with FakeEventGate(otherwise=reply) as first, FakeEventGate(beside=first.address) as second:
        async with sidecar(to_one(first.address, second.address), tmp_path) as running:
            assert (await running.post(EVENT)).status == status
        assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_events_that_eventgate_cannot_produce_go_to_the_next(tmp_path: Path) -> None:
    """With Kafka down behind one EventGate the other takes all events, and soon gets them first."""
    broken = failures(500, invalid=[], error=[{**INVALID, "status": "error"}])
    async with FakeEventGate(otherwise=broken) as first, FakeEventGate(beside=first.address) as second:
        async with sidecar(to_one(first.address, second.address), tmp_path) as running:
            headers = [(await running.post(EVENT)).headers["x-eventgate-sidecar"] for _ in range(12)]
        assert (headers, len(second.requests)) == ([by("2")] * 12, 12)
        assert len(first.requests) < 12


@pytest.mark.parametrize("reply", [close, reset], ids=["closed", "reset"])
async def test_on_ambiguous_fail_sends_events_once(tmp_path: Path, reply: Reply) -> None:
    """The producer is told, and decides."""
    async with FakeEventGate(otherwise=reply) as first, FakeEventGate(beside=first.address) as second:
        async with sidecar(to_one(first.address, second.address, on_ambiguous="fail"), tmp_path) as running:
            seen = await running.post(EVENT)
        assert (seen.status, seen.reason, seen.headers["retry-after"]) == (503, UNREACHABLE, "1")
        assert seen.json["error"][0]["context"]["message"].endswith("it may have been taken nevertheless")
        assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_an_event_is_sent_at_most_twice(tmp_path: Path) -> None:
    """If both endpoints fail the producer is told."""
    async with (
        FakeEventGate(otherwise=close) as first,
        FakeEventGate(otherwise=close, beside=first.address) as second,
    ):
        async with sidecar(to_one(first.address, second.address), tmp_path) as running:
            assert (await running.post(EVENT)).status == 503
        assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_a_lone_endpoint_is_tried_twice(tmp_path: Path) -> None:
    """Its name may have many servers behind it."""
    async with (
        FakeEventGate(answer(503, "Sorry")) as gate,
        sidecar(to_one(gate.address), tmp_path) as running,
    ):
        assert (await running.post(EVENT)).status == 201
        assert len(gate.requests) == 2


async def test_retry_after_is_respected(tmp_path: Path) -> None:
    """A single endpoint that asks for a second gets it, if the deadline allows."""
    wait = answer(503, "Wait", headers={"retry-after": "1"})
    async with FakeEventGate(wait) as gate, sidecar(to_one(gate.address), tmp_path) as running:
        begun = now()
        assert (await running.post(EVENT)).status == 201
        assert now() - begun >= 1.0


@pytest.mark.parametrize("reply", [stall, drip(b"HTTP/1.1 201 Created\r\n" * 99)], ids=["no answer", "a slow answer"])
async def test_the_deadline_is_kept(tmp_path: Path, reply: Reply) -> None:
    """If every endpoint hangs, the producer gets its answer at the deadline."""
    async with (
        FakeEventGate(otherwise=reply) as first,
        FakeEventGate(otherwise=reply, beside=first.address) as second,
    ):
        config = to_one(
            first.address,
            second.address,
            timeouts={"connect": "100ms", "attempt": "300ms", "deadline": "400ms"},
        )
        async with sidecar(config, tmp_path) as running:
            begun = now()
            seen = await running.post(EVENT)
            took = now() - begun
    assert (seen.status, seen.reason, seen.headers["retry-after"]) == (503, UNREACHABLE, "1")
    assert seen.json["invalid"] == []
    assert [each["event"] for each in seen.json["error"]] == [json.loads(EVENT)]
    assert took < 0.4 + 0.5  # the deadline, and what a busy machine adds


async def test_with_every_endpoint_dead_the_answer_is_eventgates_503(tmp_path: Path) -> None:
    """With Retry-After, the event echoed as an error, and what was tried."""
    with refusing() as nobody:
        neighbour = nobody.replace("127.0.0.1", "127.0.0.2")
        async with sidecar(to_one(nobody, neighbour), tmp_path) as running:
            seen = await running.post(EVENT)
    assert (seen.status, seen.reason, seen.headers["retry-after"]) == (503, UNREACHABLE, "1")
    assert seen.headers["content-type"] == "application/json; charset=utf-8"
    assert seen.headers["x-eventgate-sidecar"].startswith("failed; upstream=main; ")
    (error,) = seen.json["error"]
    assert (error["status"], error["event"], seen.json["invalid"]) == ("error", json.loads(EVENT), [])
    assert error["context"]["message"].startswith("not accepted by main: ")


async def test_two_upstreams_are_served_in_parallel(tmp_path: Path) -> None:
    """Neither answers before both have been sent their events."""
    both = asyncio.Barrier(2)
    async with FakeEventGate(after(both)) as one, FakeEventGate(after(both)) as other:
        config = {
            "version": 1,
            "upstreams": {"one": upstream(one.address), "other": upstream(other.address)},
            "routes": [
                {"name": "first", "match": {"stream": "x"}, "to": "one"},
                {"name": "rest", "to": "other"},
            ],
        }
        events = [{"meta": {"stream": stream, "id": stream}} for stream in ("x", "y")]
        async with sidecar(config, tmp_path) as running:
            seen = await running.post(json.dumps(events).encode())
    assert (seen.status, seen.reason) == (201, "All 2 out of 2 events were accepted.")


async def test_a_producer_that_leaves_does_not_cancel_its_delivery(tmp_path: Path) -> None:
    """An event in flight arrives, although its producer did not wait."""
    release = asyncio.Event()
    async with FakeEventGate(after(release)) as gate, sidecar(to_one(gate.address), tmp_path) as running:
        async with connected(running.address) as client:
            await client.send(post(EVENT))
            await gate.received(1)
        release.set()
        events = 'eventgate_sidecar_events_total{outcome="delivered",stream="_other"} 1.0'

        async def counted() -> bool:
            return events in (await running.get("/metrics")).body.decode()

        async with asyncio.timeout(PATIENCE):
            while not await counted():
                pass


async def test_many_at_once_are_all_delivered_once(tmp_path: Path) -> None:
    """Two hundred producers at once: each gets its answer, each event arrives once."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:

        async def one(number: int) -> int:
            event = {"meta": {"stream": "s", "id": f"id-{number}"}}
            return (await running.post(json.dumps(event).encode())).status

        async with asyncio.timeout(PATIENCE):
            statuses = await asyncio.gather(*(one(number) for number in range(200)))
        ids = sorted(event["meta"]["id"] for request in gate.requests for event in request.events)
    assert (statuses, ids) == ([201] * 200, sorted(f"id-{number}" for number in range(200)))


async def test_an_endpoint_that_comes_back_is_used_again(tmp_path: Path) -> None:
    """A single endpoint that failed gets the next event after its recovery."""
    async with FakeEventGate(*[close] * 4) as gate, sidecar(to_one(gate.address), tmp_path) as running:
        statuses: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while 201 not in statuses:
                statuses.append((await running.post(EVENT)).status)
        assert set(statuses[:-1]) <= {503}
        await eventually(lambda: len(gate.requests) >= 5)


# --- the first events, on a loop with an exact clock ---


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("found_at", "deadline", "expected"),
    [
        pytest.param(0.4, "4s", Seen(0.4, "success", "eqiad:80"), id="found in time"),
        pytest.param(2.0, "4s", Seen(1.0, "error", "", unreachable=True), id="not within a second"),
        pytest.param(2.0, "600ms", Seen(0.6, "error", "", unreachable=True), id="not within the deadline"),
    ],
)
async def test_the_first_events_wait_for_the_first_round(found_at: float, deadline: str, expected: Seen) -> None:
    """For the first look-ups and checks, at most 1 s."""
    pool = bare_pool("eqiad", timeouts={"deadline": deadline, "attempt": "500ms"})

    async def first_round() -> None:
        await asyncio.sleep(found_at)
        pool.endpoints[0].set_addresses((EQIAD,))
        script(at(pool, EQIAD))
        pool.looked_at_endpoint(pool.endpoints[0])

    async with delivering(pool) as (delivery, _), asyncio.TaskGroup() as tasks:
        tasks.create_task(first_round())
        assert await deliver(delivery) == expected


@pytest.mark.looptime
async def test_nothing_is_sent_before_the_start() -> None:
    """The answer is immediate."""
    pool = bare_pool("eqiad")
    ended: asyncio.Future[list[EventStatus] | Undelivered] = asyncio.get_running_loop().create_future()
    Sender({"main": pool}, Recorder(), lambda: 0.5, now).send(Load("main", [scripted.EVENT]), ended.set_result)
    assert isinstance(ended.result(), Undelivered)


@pytest.mark.looptime
@pytest.mark.parametrize(("reserve", "seconds"), [(None, 4.0), (0.0, 4.0), (3.0, 1.0), (5.0, 0.0)])
async def test_the_reserve_for_the_spool_is_part_of_the_deadline(reserve: float | None, seconds: float) -> None:
    """What is left for attempts is never less than nothing."""
    pool = scripted.make_pool({"eqiad": [EQIAD]}, timeouts={"deadline": "4s", "attempt": "4s"})
    script(at(pool, EQIAD), otherwise=scripted.fails(FailureClass.AMBIGUOUS, takes=9.0))
    more: dict[str, float] = {} if reserve is None else {"reserve": reserve}
    sender = Sender({"main": pool}, Recorder(), lambda: 0.5, now, **more)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        sender.start(tasks)
        assert (await deliver(sender)).at == pytest.approx(seconds, abs=0.01)


@pytest.mark.looptime
async def test_each_load_is_traced() -> None:
    """With what the observer makes of it."""
    seen: list[Load] = []

    class Watching:
        def begun(self, load: Load) -> tuple[Load, None]:
            seen.append(load)
            return msgspec.structs.replace(load, events=[TRACED]), None

    watching: Any = Watching()
    pool = scripted.make_pool({"eqiad": [EQIAD]})
    eqiad = script(at(pool, EQIAD))
    async with delivering(pool, watching) as (delivery, _):
        await deliver(delivery)
    assert [load.events for load in seen] == [[scripted.EVENT]]
    assert [posted.body for posted in eqiad.sent] == [(TRACED.body,)]


@pytest.mark.looptime
@pytest.mark.parametrize(("alone", "attempts"), [(True, 1), (False, 2)], ids=["from the spool", "live"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_other_routes_end_the_attempts_of_spooled_events(*, alone: bool, attempts: int, at_once: bool) -> None:
    """The next attempt might go where they do not allow it. A live request ends under the routes that it came under."""
    pool = scripted.make_pool({"eqiad": [EQIAD], "codfw": [scripted.CODFW]})
    fakes = [
        script(address, otherwise=scripted.fails(FailureClass.AMBIGUOUS, takes=0.05)) for address in pool.addresses
    ]
    ended: asyncio.Future[list[EventStatus] | Undelivered] = asyncio.get_running_loop().create_future()
    async with delivering(pool) as (delivery, _):
        if at_once:
            delivery.replaced()
        delivery.send(Load("main", [scripted.EVENT], alone=alone), ended.set_result)
        delivery.replaced()
        assert isinstance(await ended, Undelivered)
    assert sum(len(fake.sent) for fake in fakes) == attempts - (alone and at_once)
