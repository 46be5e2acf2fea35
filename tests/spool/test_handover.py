"""Promises of `handover`: waiting events go to the gateway in order, and are deleted once it has them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from sidecar.errors import BodyTooLarge, MalformedBody
from sidecar.eventgate.gateway import Ended, Gateway
from sidecar.events.outgoing import LABELS
from sidecar.routes.routing import Router
from sidecar.spool.handover import EVENTS, MAX_EVENTS, HandOver, TakeOver, packed, unpacked
from sidecar.spool.policy import Routers
from sidecar.spool.record import Quota, Spooled
from tests.anyroutes import config_of
from tests.spool.spools import NOON, AtOnce, Opened, fill, open_spool, spooled, waiting

pytestmark = pytest.mark.looptime

ROUTES = """
version: 1
upstreams: {main: {url: "http://eventgate:8192/v1/events"}}
routes:
- {name: staging, match: {labels: {env: staging}, stream: score}, to: main, stream: score-test}
- {name: production, match: {labels: {env: production}}, to: main, order_by: [page]}
"""


TAKEN = Ended()


class FakeGateway(Gateway):
    """Takes everything, or answers as configured; keeps the received events."""

    def __init__(self, *ends: Ended, forever: Ended = TAKEN) -> None:
        """Its first answer is the first of `ends`, and `forever` those behind them."""
        super().__init__("http://gateway:8888/v1/events", {"env": "staging"})
        self.posts: list[list[int]] = []
        self._ends, self._forever = list(ends), forever
        self.hangs = False

    async def post(self, ip: str, body: bytes, events: int) -> Ended:
        """Record the hand-over."""
        got = [int(each.id or 0) for each in unpacked(body, "", NOON)]
        assert (ip, events) == ("10.0.0.9", len(got))
        self.posts.append(got)
        if self.hangs:
            await asyncio.sleep(1000)
        return self._ends.pop(0) if self._ends else self._forever


async def found(host: str) -> Sequence[str] | str:
    """Look the gateway up."""
    assert host == "gateway"
    return ("10.0.0.9",)


def handing(opened: Opened, gateway: Gateway) -> HandOver:
    """Return the hand-over of a spool."""
    return HandOver(opened.spool, gateway, found, opened.telemetry, lambda: 1.0)


# --- on the way ---


@pytest.mark.parametrize("body", [b'{"meta":{"stream":"s","id":"1"},\n"x":"\\ud800"}', b"[1]", b'{"a":1,"a":2}'])
def test_an_event_arrives_unchanged(body: bytes) -> None:
    """Its bytes and its data; times in the gateway's clock."""
    sent = spooled(
        7,
        body=body,
        came_as="old",
        headers=(("x-request-id", "r"),),
        hasty=True,
        attempts=3,
        errors=2,
        last_attempt=NOON + 5,
        last_error="no answer",
    )
    (got,) = unpacked(packed([sent], NOON + 10), "env=staging", NOON + 1000)
    assert (got.body, got.came_as, got.hasty, got.attempts, got.errors) == (body, "old", True, 3, 2)
    assert (got.first_seen, got.last_attempt, got.last_error) == (NOON + 990, NOON + 995, "no answer")
    assert got.headers == (("x-request-id", "r"), (LABELS, "env=staging"))
    assert got.origin == {"env": "staging"}


def test_an_age_is_never_negative() -> None:
    """The clock of the pod may have been set back: here the event is no newer than now."""
    (got,) = unpacked(packed([spooled(1, first_seen=NOON + 5, last_attempt=NOON + 5)], NOON), "", NOON + 1000)
    assert (got.first_seen, got.last_attempt) == (NOON + 1000, NOON + 1000)


def test_labels_of_an_earlier_hop_stay_and_no_header_is_made_up() -> None:
    """Routing uses the labels of the origin, through any number of gateways; headers cannot be injected."""
    headers = ((LABELS, "env=far"), ("cookie", "x"), ("user-agent", "a\r\nevil: 1"))
    (got,) = unpacked(packed([spooled(1, headers=headers)], NOON), "env=near", NOON)
    assert (got.headers, got.origin) == (((LABELS, "env=far"),), {"env": "far"})


@pytest.mark.parametrize(
    "body",
    [
        *(b"{}", b"{}\n{}", b'{"bytes":9,"upstream":"u","age":1}\n{}', b"[" * 9999 + b"\n"),
        b'{"bytes":2,"upstream":"u","age":1,"errors":9223372036854775808}\n{}',
    ],
)
def test_a_malformed_hand_over_is_refused(body: bytes) -> None:
    """As a whole."""
    with pytest.raises(MalformedBody):
        list(unpacked(body, "", NOON))


# --- out of the spool ---


async def test_all_that_waits_is_handed_over_the_oldest_first(tmp_path: Path) -> None:
    """In batches, each key in order: events tried live go before those that waited behind them."""
    events = [spooled(number) for number in range(1, EVENTS + 2)]
    keyed = [spooled(900, "k"), spooled(901), spooled(902, "k", ahead=True)]
    gateway = FakeGateway()
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([*events, *keyed])
        await handing(opened, gateway).rest()
        assert opened.spool.state.totals.events == 0
        assert opened.counted("handed_over_events_total")['result="taken"'] == EVENTS + 4
    assert gateway.posts == [list(range(1, EVENTS + 1)), [EVENTS + 1, 902, 900, 901]]


async def test_a_damaged_event_is_not_handed_over(tmp_path: Path) -> None:
    """It becomes a dead letter; the others are handed over."""
    file = fill(tmp_path, spooled(1), spooled(2))
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE waiting SET body = CAST('{}' AS BLOB) WHERE arrival = 1")
    gateway = FakeGateway()
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await handing(opened, gateway).rest()
        totals = opened.spool.state.totals
        assert (gateway.posts, totals.events, totals.dead) == ([[2]], 0, 1)


async def test_what_the_gateway_does_not_take_stays(tmp_path: Path) -> None:
    """It is retried until the deadline; if the gateway may have it nevertheless, that is counted."""
    gateway = FakeGateway(Ended("full"), Ended("cut", doubtful=True), forever=Ended("gone"))
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1), spooled(2)])
        out = handing(opened, gateway)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                await out.rest()
        assert (out.host, out.trouble) == ("gateway", "gone")
        assert opened.spool.state.totals.events == 2
        assert opened.counted("handed_over_events_total")['result="doubtful"'] == 1
    assert len(gateway.posts) == 12


async def test_two_events_that_belong_together_are_not_retried_without_a_pause(tmp_path: Path) -> None:
    """One was tried live and goes before an older one of its key, so neither is ever posted alone."""
    gateway = FakeGateway(forever=Ended("cannot connect"))
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1, "a"), spooled(2, "a", ahead=True)])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                await handing(opened, gateway).rest()
    assert gateway.posts[0] == [2, 1]
    assert 5 < len(gateway.posts) < 40


async def test_an_event_that_the_gateway_never_takes_holds_up_no_others(tmp_path: Path) -> None:
    """Such as one too large for a proxy before it: only newer events of its key stay with it."""

    class Picky(FakeGateway):
        async def post(self, ip: str, body: bytes, events: int) -> Ended:
            await super().post(ip, body, events)
            return Ended("it answered 413 Too Large") if 7 in self.posts[-1] else TAKEN

    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(number, "k" if number in {7, 9} else None) for number in range(1, 301)])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await handing(opened, Picky()).rest()
        assert opened.spool.state.totals.events == 2
    assert waiting(tmp_path) == [7, 9]


async def test_when_time_is_up_what_is_under_way_is_in_doubt(tmp_path: Path) -> None:
    """The gateway may have it: it stays here, and is counted as possibly in both places."""
    gateway = FakeGateway()
    gateway.hangs = True
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1)])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await handing(opened, gateway).rest()
        assert opened.log("HandedOver") == [{"result": "doubtful", "events": 1, "reason": "the time for it is up"}]
        assert (opened.spool.state.totals.events, opened.spool.state.in_flight) == (1, 0)


async def test_without_an_address_of_the_gateway_all_stays(tmp_path: Path) -> None:
    """As without a gateway."""

    async def nowhere(_: str) -> Sequence[str] | str:
        return "DNS says there is no such name (NXDOMAIN)"

    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1)])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await HandOver(opened.spool, FakeGateway(), nowhere, opened.telemetry, lambda: 1.0).rest()
        assert opened.log("HandedOver")[0]["reason"] == "DNS says there is no such name (NXDOMAIN)"
        assert opened.spool.state.totals.events == 1


@pytest.mark.parametrize(("large", "hurry", "handed"), [(1, True, [[1, 3]]), (11, False, [[1, 3]]), (1, False, [])])
async def test_a_spool_that_is_nearly_full_hands_over_early(
    tmp_path: Path, large: int, *, hurry: bool, handed: list[list[int]]
) -> None:
    """So does one whose pod ends: events that no endpoint takes, and that no newer one must not overtake."""
    gateway = FakeGateway()
    async with open_spool(tmp_path, Quota(1_000_000), hand=AtOnce()) as opened:
        await opened.put([spooled(1), spooled(2, "key"), spooled(3)])
        for number in range(large):
            result = await opened.put([spooled(10 + number, upstream="well", body=b" " * 60_000)])
            assert result.kept == "stored"
        out = handing(opened, gateway)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(out.early({"main"}, lambda: hurry))
            await asyncio.sleep(3)
            out.stop()
    assert gateway.posts == handed


# --- into that of a gateway ---


def taking(opened: Opened) -> TakeOver:
    """Return a taker of hand-overs, with `ROUTES` and as a pod in production."""
    made = TakeOver(opened.spool, opened.telemetry)
    made.routers = Routers(Router(config_of(yaml.safe_load(ROUTES)), {"env": "production"}))
    return made


async def take(made: TakeOver, events: Sequence[Spooled], labels: str) -> tuple[int, str]:
    """Hand over events; return the answer."""
    told: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
    for _ in made.take(packed(events, NOON), labels, lambda count, why: told.set_result((count, why))):
        pass
    return await told


async def test_what_is_taken_is_durable_and_under_the_rules_of_its_origin(tmp_path: Path) -> None:
    """It is renamed once, from its original stream; events without a route become dead letters with a reason."""
    renamed = b'{"meta":{"stream":"score-test","id":"2"}}'
    events = [spooled(1, came_as="score"), spooled(2, came_as="score", body=renamed), spooled(3, came_as="x")]
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        made = taking(opened)
        assert await take(made, events, "env=staging") == (3, "")
        assert await take(made, [spooled(4, came_as="score")], "env=production") == (1, "")
        kept = await opened.spool.read(lambda file: [event for event, _ in file.waiting()])
        taken = {("env=staging", "main"): 3, ("env=production", "main"): 1}
        assert opened.telemetry.counts.taken_over == taken
        labels = [each["labels"] for each in opened.log("TakenOver")]
        assert labels == ["env=staging", "env=production"]
    assert [(each.stream, each.order_key is not None) for each in kept] == [
        ("score-test", False),
        ("score-test", False),
        ("score", False),
        ("score", True),
    ]


async def test_a_gateway_that_stops_takes_no_spool(tmp_path: Path) -> None:
    """Two that stop at the same time would hand events back and forth."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        made = taking(opened)
        made.stopping = True
        assert await take(made, [spooled(1)], "env=staging") == (0, "the gateway is stopping")
        assert opened.spool.state.totals.events == 0


async def test_a_gateway_without_room_says_so(tmp_path: Path) -> None:
    """A hand-over is taken as a whole or not at all; the sidecar keeps what was not."""
    async with open_spool(tmp_path, Quota(200_000), hand=AtOnce()) as opened:
        count, why = await take(taking(opened), [spooled(n, body=b" " * 9000) for n in range(99)], "env=staging")
        assert (count, "the spool is full" in why, opened.spool.state.totals.events) == (0, True, 0)


async def test_too_much_at_once_is_refused(tmp_path: Path) -> None:
    """Reading it would delay others."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        with pytest.raises(BodyTooLarge):
            await take(taking(opened), [spooled(1)] * (MAX_EVENTS + 1), "env=staging")
        with pytest.raises(MalformedBody):
            await take(taking(opened), [], "env=staging")
