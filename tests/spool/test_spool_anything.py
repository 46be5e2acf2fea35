"""Random operations: events of a key stay in order, none is in flight twice, none is lost."""

from __future__ import annotations

import asyncio
import enum
import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import looptime
import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.spool.record import Quota, Spooled, key_of
from sidecar.spool.store import Kept, Spool
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry
from tests.spool.spools import NOON, AtOnce, arrivals, put, spool_file, spooled

KEYS = st.sampled_from([None, "a", "a", "b"])
PICK = st.integers(0, 10**6)


class Where(enum.Enum):
    """The state of an event."""

    LIVE = enum.auto()
    """Being sent for its producer, who waits."""
    COMING = enum.auto()
    """To be put into the spool; its producer waits."""
    WAITING = enum.auto()
    """In the spool, its producer has been told so."""
    REPLAYED = enum.auto()
    """Being sent from the spool."""
    ENDED = enum.auto()


@dataclass(eq=False)
class One:
    """An event in the model."""

    came: int
    """Its place in the order in which events came."""
    key: str | None
    behind: bool
    where: Where
    tried: bool = False
    """Whether it was sent live."""
    number: int = 0
    """That the spool gave it."""

    @property
    def event(self) -> Spooled:
        """Convert it for the spool."""
        return msgspec.structs.replace(spooled(self.number, self.key, ahead=self.tried), id=str(self.came))


class AnyOrder(RuleBasedStateMachine):
    """Producers, failing endpoints, an operator and crashes, compared with a model."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner(loop_factory=looptime.new_event_loop)
        self.events: list[One] = []
        self.delivered: dict[str | None, list[int]] = {}
        self.given = 0
        """The last number that the spool gave."""
        self.steps = 0
        """Since the last start; where starts are too many, nothing else happens."""

    def teardown(self) -> None:
        """End it, and check what a new start finds."""
        self.stop(crash=False)
        with spool_file(self.folder) as file:
            assert {event.id for event, sound in file.waiting() if sound} == {
                str(one.came) for one in self.of(Where.WAITING)
            }
        self.runner.close()
        shutil.rmtree(self.folder)

    # --- the process ---

    @initialize()
    def start(self) -> None:
        """Open the spool."""
        self.steps = 0
        self.runner.run(self._start())

    async def _start(self) -> None:
        telemetry = Telemetry([], make_log(io.StringIO()))
        self.spool = Spool(self.folder, Quota(), telemetry, lambda: NOON, lambda: 0.0, AtOnce())
        self.task = asyncio.get_running_loop().create_task(self.spool.run())
        await self.spool.opened()

    def stop(self, *, crash: bool) -> None:
        """End the process; only the spool survives."""

        async def end() -> None:
            if crash:
                self.task.cancel()
            self.spool.close()
            await asyncio.wait([self.task])

        self.runner.run(end())
        for one in self.events:
            if one.where is Where.REPLAYED:
                one.where = Where.WAITING
            elif one.where in (Where.LIVE, Where.COMING):
                one.where = Where.ENDED

    @precondition(lambda self: self.steps >= 12)
    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        """End it and start again."""
        self.stop(crash=crash)
        self.start()

    # --- producers ---

    @rule(keys=st.lists(KEYS, min_size=1, max_size=4))
    def arrive(self, keys: list[str | None]) -> None:
        """Events arrive; each is sent live unless another of its key is not settled."""
        for key in keys:
            self.arrive_one(key)

    def arrive_one(self, key: str | None) -> None:
        """One event arrives."""
        behind = self.spool.order.arrive(key_of("main", key) if key else None)
        # Of those that are behind another, one that is not being stored yet may still be told that it failed.
        alive = (one for one in self.events if one.key == key and one.where is not Where.ENDED)
        assert behind == (key is not None and any(not (one.behind and one.where is Where.COMING) for one in alive))
        self.events.append(One(len(self.events), key, behind, Where.COMING if behind else Where.LIVE))
        if behind:  # it is put into the spool before anything else happens
            self.keep(self.events[-1])

    @precondition(lambda self: self.of(Where.LIVE))
    @rule(pick=PICK, taken=st.booleans())
    def live_ends(self, pick: int, taken: bool) -> None:
        """A live event is delivered, or no endpoint takes it."""
        one = self.pick(Where.LIVE, pick)
        one.tried = True
        if taken:
            self.arrived(one)
            self.settle(one)
        else:
            one.where = Where.COMING

    @precondition(lambda self: self.of(Where.COMING))
    @rule(pick=PICK, given_up=st.booleans())
    def store(self, pick: int, given_up: bool) -> None:
        """An event is stored, or its producer is told that it failed."""
        one = self.pick(Where.COMING, pick)
        if given_up:
            one.where = Where.ENDED
            self.settle(one)
        else:
            self.keep(one)

    def keep(self, one: One) -> None:
        """Store an event."""
        assert self.runner.run(put(self.spool, [one.event])).kept is Kept.STORED
        one.number = self.given = self.given + 1
        one.where = Where.WAITING
        self.settle(one)

    def settle(self, one: One) -> None:
        """Settle an event if it was its key's first."""
        if one.key and not one.behind:
            self.spool.order.settled(key_of("main", one.key))

    # --- replay ---

    @rule(most=st.integers(1, 4))
    def hand_out(self, most: int) -> None:
        """Exactly the events that may be sent are handed out, in order."""
        found = self.runner.run(self.spool.hand_out("main", most, 10**6))
        assert arrivals(found) == sorted(one.number for one in self.may_be_sent())[:most]
        for one in self.events:
            if one.where is Where.WAITING and one.number in arrivals(found):
                one.where = Where.REPLAYED

    @precondition(lambda self: self.of(Where.REPLAYED))
    @rule(pick=PICK, end=st.sampled_from(["delivered", "delivered", "failed", "dead", "released"]))
    def replay_ends(self, pick: int, end: str) -> None:
        """An attempt from the spool ends in some way."""
        one = self.pick(Where.REPLAYED, pick)
        if end == "delivered":
            self.arrived(one)
            self.runner.run(self.spool.delivered([one.event]))
        elif end == "dead":
            one.where = Where.ENDED
            self.runner.run(self.spool.dead(one.event, "invalid", "", b""))
        else:
            one.where = Where.WAITING
            if end == "failed":
                self.runner.run(self.spool.failed(one.event, "no answer"))
            self.spool.release([one.event])

    # --- an operator ---

    @precondition(lambda self: self.of(Where.WAITING))
    @rule(pick=PICK)
    def drop(self, pick: int) -> None:
        """An operator drops an event, from another process."""
        one = self.pick(Where.WAITING, pick)
        with spool_file(self.folder) as theirs, theirs.transaction():
            assert theirs.delivered([one.number])
        one.where = Where.ENDED
        self.runner.run(asyncio.sleep(1.1))

    # --- what has to be ---

    @invariant()
    def never_two_of_a_key_at_once(self) -> None:
        """At most one event of a key is being sent."""
        self.steps += 1
        sent = [one.key for one in self.events if one.key and one.where in (Where.LIVE, Where.REPLAYED)]
        assert len(sent) == len(set(sent))

    @invariant()
    def no_event_overtakes_another(self) -> None:
        """Events of a key reach EventGate in order of arrival."""
        for key, numbers in self.delivered.items():
            assert key is None or numbers == sorted(numbers)

    def arrived(self, one: One) -> None:
        """Record that an event reached EventGate."""
        one.where = Where.ENDED
        self.delivered.setdefault(one.key, []).append(self.events.index(one))

    def may_be_sent(self) -> list[One]:
        """Return the events that may be sent from the spool, by a naive implementation of the rules."""
        settled = (Where.ENDED,)
        return [
            one
            for one in self.events
            if one.where is Where.WAITING
            and not any(
                other.key == one.key and other.came < one.came and other.where not in settled
                for other in self.events
                if one.key
            )
        ]

    def of(self, where: Where) -> list[One]:
        """Return the events in this state."""
        return [one for one in self.events if one.where is where]

    def pick(self, where: Where, number: int) -> One:
        """Return one of them."""
        found = self.of(where)
        return found[number % len(found)]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
