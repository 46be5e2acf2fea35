"""Promises of `keeping`: which events are sent live, which are stored, and what producers are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from sidecar.events.outgoing import Done, Headers, Load, Outgoing
from sidecar.events.results import EventStatus, Outcome, failed
from sidecar.spool.keeping import Keeping
from sidecar.spool.policy import reason
from sidecar.spool.record import Quota
from tests.spool.spools import NOON, AtOnce, Opened, open_spool, waiting

pytestmark = pytest.mark.looptime

AGENT: Headers = (("user-agent", "model/1"),)
ACCEPTED = EventStatus("success", Outcome.DELIVERED)
UNREACHED = EventStatus("error", Outcome.FAILED, b"nobody", unreachable=True, may_be_sent_again=True)
REFUSED = EventStatus("error", Outcome.FAILED, b"413")
ONCE_ONLY = EventStatus("error", Outcome.FAILED, b"lost", unreachable=True)
SPOOLED = EventStatus("success", Outcome.SPOOLED, upstream="main")


class Wire:
    """Delivers with scripted statuses by event id, at once or when released."""

    def __init__(self) -> None:
        """All are accepted at once."""
        self.says: dict[str, EventStatus] = {}
        self.sent: list[tuple[list[str], Headers, bool]] = []
        self.holds = False
        self._held: list[Callable[[], None]] = []

    def deliver(self, load: Load, done: Done) -> None:
        """Send them."""
        names = [event.id or "" for event in load.events]
        self.sent.append((names, load.headers, load.hasty))
        statuses = [self.says.get(name, ACCEPTED) for name in names]
        if self.holds:
            self._held.append(lambda: done(statuses))
        else:
            done(statuses)

    def release(self) -> None:
        """Let all that is under way end."""
        self.holds = False
        while self._held:
            self._held.pop(0)()

    @property
    def names(self) -> list[list[str]]:
        """Which events were sent, array by array."""
        return [names for names, _, _ in self.sent]


class Desk:
    """A keeping between a wire and a spool."""

    def __init__(self, opened: Opened, *, keeps: bool = True) -> None:
        """`keeps`: whether what no endpoint took is kept."""
        self.wire = Wire()
        self.opened = opened
        self.now = NOON
        self.keeping = Keeping(self.wire.deliver, opened.spool, {"main": keeps}, lambda: self.now)

    def begin(self, *events: Outgoing, hasty: bool = False) -> asyncio.Future[Sequence[EventStatus]]:
        """Deliver them; the future has their statuses."""
        ended: asyncio.Future[Sequence[EventStatus]] = asyncio.get_running_loop().create_future()
        self.keeping.deliver(Load("main", events, AGENT, hasty), ended.set_result)
        return ended

    async def deliver(self, *events: Outgoing) -> list[EventStatus]:
        """Deliver them, and return their statuses."""
        return list(await self.begin(*events))


@contextlib.asynccontextmanager
async def desk(folder: Path, limits: Quota | None = None, *, keeps: bool = True) -> AsyncIterator[Desk]:
    """A desk with its own spool."""
    async with open_spool(folder / "spool", limits, hand=AtOnce()) as opened:
        yield Desk(opened, keeps=keeps)


def event(name: str, key: str | None = None, *, spool_first: bool = False) -> Outgoing:
    """Return an event with this id."""
    return Outgoing(0, b'{"meta":{"id":"%b"}}' % name.encode(), name, "score", False, key, spool_first)


async def test_an_accepted_event_does_not_touch_the_disk(tmp_path: Path) -> None:
    """The usual case."""
    async with desk(tmp_path) as desk_:
        assert await desk_.deliver(event("a"), event("b")) == [ACCEPTED] * 2
        assert desk_.opened.spool.state.totals.events == 0
    assert desk_.wire.sent == [(["a", "b"], AGENT, False)]


@pytest.mark.parametrize("hasty", [False, True])
async def test_only_what_is_accepted_shows_that_eventgate_takes_events(tmp_path: Path, *, hasty: bool) -> None:
    """EventGate answers `?hasty=true` before Kafka does: such a 202 must not blame events that get errors meanwhile."""
    async with desk(tmp_path) as desk_:
        await desk_.begin(event("a"), hasty=hasty)
        assert (desk_.opened.spool.last_taken("main") is None) is hasty


async def test_undelivered_events_are_stored(tmp_path: Path) -> None:
    """Of an array only those are, and every event has its own status in its place."""
    async with desk(tmp_path) as desk_:
        desk_.wire.says = {"b": UNREACHED, "c": REFUSED}
        assert await desk_.deliver(event("a"), event("b"), event("c")) == [ACCEPTED, SPOOLED, REFUSED]
    assert waiting(tmp_path / "spool") == [1]


async def test_a_stored_event_has_the_number_of_its_configuration(tmp_path: Path) -> None:
    """So that it is not routed again while that one is in force."""
    async with desk(tmp_path) as desk_:
        desk_.keeping.number = 7
        desk_.wire.says = {"a": UNREACHED}
        await desk_.deliver(event("a"))
        (kept,) = await desk_.opened.spool.hand_out("main", 1, 10**6)
        assert kept.routed_by == 7


async def test_the_age_of_an_event_starts_when_it_is_stored(tmp_path: Path) -> None:
    """The spool's clock may be set between request and storing."""
    async with desk(tmp_path) as desk_:
        desk_.wire.says, desk_.wire.holds = {"a": UNREACHED}, True
        ended = desk_.begin(event("a"))
        desk_.now = NOON + 90_000
        desk_.wire.release()
        await ended
        (kept,) = await desk_.opened.spool.hand_out("main", 1, 10**6)
        assert kept.first_seen == NOON + 90_000


@pytest.mark.parametrize(
    ("status", "keeps"), [(ONCE_ONLY, True), (UNREACHED, False)], ids=["at most once", "spool: false"]
)
async def test_events_that_must_not_be_sent_again_are_not_stored(
    *, tmp_path: Path, status: EventStatus, keeps: bool
) -> None:
    """Ambiguous ones under `on_ambiguous: fail`, and those of upstreams without spool, fail."""
    async with desk(tmp_path, keeps=keeps) as desk_:
        desk_.wire.says = {"a": status}
        assert await desk_.deliver(event("a")) == [status]
    assert waiting(tmp_path / "spool") == []


async def test_acknowledge_spooled_stores_without_sending(tmp_path: Path) -> None:
    """The producer does not wait for EventGate."""
    async with desk(tmp_path) as desk_:
        assert await desk_.deliver(event("a", spool_first=True), event("b")) == [SPOOLED, ACCEPTED]
    assert desk_.wire.names == [["b"]]
    assert waiting(tmp_path / "spool") == [1]


async def test_a_newer_event_is_stored_behind_an_older_one_of_its_key(tmp_path: Path) -> None:
    """While that is in flight or waits; events of other keys are sent live."""
    async with desk(tmp_path) as desk_:
        desk_.wire.holds = True
        first = desk_.begin(event("a", "k"))
        behind = desk_.begin(event("b", "k"))
        other = desk_.begin(event("c", "l"))
        assert await behind == [SPOOLED]
        desk_.wire.release()
        assert (await first, await other) == ([ACCEPTED], [ACCEPTED])
        assert await desk_.deliver(event("d", "k")) == [SPOOLED]
    assert desk_.wire.names == [["a"], ["c"]]
    assert waiting(tmp_path / "spool") == [1, 2]


async def test_two_of_a_key_are_never_in_one_array(tmp_path: Path) -> None:
    """EventGate promises no order within an array."""
    async with desk(tmp_path) as desk_:
        assert await desk_.deliver(event("a", "k"), event("b", "k")) == [ACCEPTED, SPOOLED]
    assert desk_.wire.names == [["a"]]


async def test_a_key_is_free_again_when_its_events_are_settled(tmp_path: Path) -> None:
    """Then the next one is sent live."""
    async with desk(tmp_path) as desk_:
        for name in ("a", "b"):
            assert await desk_.deliver(event(name, "k")) == [ACCEPTED]
    assert desk_.wire.names == [["a"], ["b"]]


async def test_an_event_that_failed_keeps_its_place(tmp_path: Path) -> None:
    """The older one is sent first, although the newer one was stored first."""
    async with desk(tmp_path) as desk_:
        desk_.wire.holds, desk_.wire.says = True, {"a": UNREACHED}
        first = desk_.begin(event("a", "k"))
        assert await desk_.begin(event("b", "k")) == [SPOOLED]
        desk_.wire.release()
        assert await first == [SPOOLED]
        handed_out = await desk_.opened.spool.hand_out("main", 10, 10_000)
        assert [each.id for each in handed_out] == ["a"]


TINY = Quota(size=64 * 1024)
"""Room for no event at all."""


async def test_with_a_full_spool_events_fail_as_without_one(tmp_path: Path) -> None:
    """The answer has the attempt's failure and says that the spool is full; it is never a 2xx."""
    async with desk(tmp_path, TINY) as desk_:
        nobody = failed(b"{}", "nobody answers", unreachable=True)
        desk_.wire.says = {"a": msgspec.structs.replace(nobody, may_be_sent_again=True, endpoint="eqiad")}
        (status,) = await desk_.deliver(event("a"))
        assert (status.status, status.unreachable, status.endpoint, status.spool) == ("error", True, "eqiad", "full")
        assert "nobody answers, and the spool cannot take it: " in reason(status)
        assert reason(status).endswith(": the spool is full; it may take 64 KiB of the disk")


async def test_with_a_full_spool_acknowledge_spooled_sends_live(tmp_path: Path) -> None:
    """It only saves time; without room the event is sent as usual."""
    async with desk(tmp_path, TINY) as desk_:
        assert await desk_.deliver(event("a", spool_first=True)) == [ACCEPTED]
        assert desk_.wire.names == [["a"]]


@pytest.mark.parametrize("spool_first", [False, True])
async def test_with_a_full_spool_no_event_overtakes_another(tmp_path: Path, *, spool_first: bool) -> None:
    """An event that would have to wait fails, and says why."""
    async with desk(tmp_path, TINY) as desk_:
        desk_.wire.holds = True
        first = desk_.begin(event("a", "k", spool_first=spool_first))
        await asyncio.sleep(0.1)  # until the spool has said that it is full
        (status,) = await desk_.begin(event("b", "k"))
        desk_.wire.release()
        assert await first == [ACCEPTED]
        words = (
            "an earlier event that it must not overtake is not delivered yet, and the spool cannot take it: "
            f"{tmp_path / 'spool'}: the spool is full; it may take 64 KiB of the disk"
        )
        expected = failed(event("b").body, words, unreachable=True)
        assert status == msgspec.structs.replace(expected, upstream="main", spool="full")
        assert await desk_.deliver(event("c", "k")) == [ACCEPTED]


async def test_spooled_events_with_different_headers_are_sent_separately(tmp_path: Path) -> None:
    """So are events with one id, and each status is matched with its event."""
    async with desk(tmp_path) as desk_:
        names = ["a", "b", "b", "c"]
        for name in names:
            await desk_.deliver(event(name, spool_first=True))
        await desk_.begin(event("d", spool_first=True), hasty=True)
        handed_out = await desk_.opened.spool.hand_out("main", 10, 10_000)
        desk_.wire.says = {"c": UNREACHED, "d": REFUSED}
        statuses = await desk_.keeping.send("main", handed_out)
        desk_.opened.spool.release(handed_out)
    assert statuses == [ACCEPTED, ACCEPTED, ACCEPTED, UNREACHED, REFUSED]
    assert desk_.wire.sent == [
        (["a", "b"], AGENT, False),
        (["b", "c"], AGENT, False),
        (["d"], AGENT, True),
    ]


async def test_events_with_a_shared_id_get_their_own_errors(tmp_path: Path) -> None:
    """In one array the error could not be matched, and the wrong event would be deleted."""
    async with desk(tmp_path) as desk_:
        for name in ("a", "a", "b"):
            await desk_.deliver(msgspec.structs.replace(event(name, spool_first=True), id=None if name == "b" else "a"))
        handed_out = await desk_.opened.spool.hand_out("main", 10, 10_000)
        await desk_.keeping.send("main", handed_out)
    assert sorted(len(names) for names in desk_.wire.names) == [1, 1, 1]
