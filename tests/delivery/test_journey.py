"""Promises of `journey`: what follows when the first attempt ends, or is late.

On a loop with an exact clock; `test_sender.py` does the same on real sockets.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

import pytest
import uvloop

from sidecar.delivery.retry import Undelivered
from sidecar.eventgate.client import Attempt, OnResult
from sidecar.eventgate.failures import FailureClass
from sidecar.events.outgoing import Headers, Load, Outgoing
from sidecar.events.results import BUG, SUCCESS, StatusWord
from sidecar.routes.language.config import Timeouts
from sidecar.telemetry.happenings import (
    FailedOver,
    Happening,
    HealthChanged,
    PostAnswered,
    PostFailed,
    Resent,
    Unexpected,
)
from sidecar.upstreams.endpoints import Address
from sidecar.upstreams.health import Health, Judge
from tests.scripted import (
    CODFW,
    EQIAD,
    EVENT,
    HANG,
    NO_CONNECTION,
    Act,
    Recorder,
    ScriptedEventGate,
    Seen,
    all_healths,
    at,
    deliver,
    delivering,
    fails,
    make_pool,
    now,
    one,
    out,
    refuses,
    result_from,
    script,
    status_from,
    two,
)

pytestmark = pytest.mark.looptime

AMBIGUOUS, INFRASTRUCTURE = FailureClass.AMBIGUOUS, FailureClass.INFRASTRUCTURE
THROTTLED, REFUSED = FailureClass.THROTTLED, FailureClass.REFUSED


# --- what the first attempt's end means ---


async def test_a_verdict_is_the_answer() -> None:
    """The second endpoint sees nothing."""
    pool, eqiad, codfw = two(Act(takes=0.09))
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(0.09, "success", "eqiad")
        assert delivery._means.timers._due == {}
    assert (len(eqiad.sent), codfw.posts) == (1, [])
    assert recorder.happenings == [PostAnswered("main", "eqiad", 1, 0.09)]


@pytest.mark.parametrize(
    ("eqiad", "answered_at", "resent"),
    [
        pytest.param(refuses(), 0.0, False, id="refuses"),
        pytest.param(NO_CONNECTION, 0.1, False, id="does not connect"),
        pytest.param(fails(INFRASTRUCTURE, 0.05), 0.05, False, id="infrastructure"),
        pytest.param(fails(THROTTLED, 0.05, 30.0), 0.05, False, id="throttled"),
        pytest.param(fails(AMBIGUOUS, 0.05), 0.05, True, id="ambiguous"),
        pytest.param(HANG, 0.1, True, id="late"),
    ],
)
async def test_failed_events_go_to_the_other_endpoint(eqiad: Act, answered_at: float, *, resent: bool) -> None:
    """The same bytes go to codfw at once; counted as resent only if eqiad may have taken them."""
    pool, first, second = two(eqiad)
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(answered_at, "success", "codfw")
    assert second.begun == [answered_at]
    assert {each.body for each in first.sent + second.sent} == {(EVENT.body,)}
    assert recorder.all_of(Resent) == ([Resent("main", "eqiad", 1)] if resent else [])


@pytest.mark.parametrize("eqiad", [refuses(), fails(INFRASTRUCTURE), fails(AMBIGUOUS)], ids=["sent not", "502", "cut"])
async def test_a_failed_post_makes_its_address_suspected(eqiad: Act) -> None:
    """It is checked at once; the next event goes elsewhere first."""
    pool, first, _ = two(eqiad)
    async with delivering(pool) as (delivery, recorder):
        await deliver(delivery)
        await deliver(delivery)
    assert all_healths(pool) == {EQIAD: Health.SUSPECTED, CODFW: Health.HEALTHY}
    assert (at(pool, EQIAD).check_now.is_set(), at(pool, CODFW).check_now.is_set()) == (True, False)
    assert len(first.posts) == 1
    assert recorder.all_of(FailedOver) == [FailedOver("main", "eqiad", "codfw")]


async def test_two_addresses_of_an_endpoint_take_turns() -> None:
    """Each gets every other event, which is not a failover."""
    pool = make_pool({"eqiad": ["10.1.0.1", "10.1.0.2"], "codfw": ["10.2.0.1"]})
    fakes = [script(address) for address in pool.addresses]
    async with delivering(pool) as (delivery, recorder):
        for _ in range(6):
            await deliver(delivery)
    assert ([len(each.posts) for each in fakes], recorder.all_of(FailedOver)) == ([3, 3, 0], [])


async def test_a_refusal_is_final() -> None:
    """It is not retried, and does not count against the endpoint."""
    pool, _, codfw = two(fails(REFUSED, 0.01))
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(0.01, "error", "eqiad", unreachable=False)
    assert (codfw.posts, all_healths(pool)[EQIAD]) == ([], Health.HEALTHY)
    assert recorder.all_of(PostFailed) == [PostFailed("main", "eqiad", "refused", "it fails", 0.01)]


async def test_attempts_that_send_nothing_are_unlimited() -> None:
    """Addresses that refuse connections are skipped, whatever their number."""
    pool = make_pool({"eqiad": ["10.1.0.1", "10.1.0.2", "10.1.0.3"], "codfw": ["10.2.0.1", "10.2.0.2"]})
    fakes = [script(address, otherwise=refuses()) for address in pool.addresses]
    good = script(pool.addresses[-1])
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == Seen(0.0, "success", "codfw")
    assert sum(len(fake.posts) for fake in fakes) in (3, 4)
    assert len(good.sent) == 1


async def test_when_all_refuse_the_answer_says_so() -> None:
    """Each address is tried once; the error has the last failure, and trying later may help."""
    pool, eqiad, codfw = two(refuses(), refuses())
    async with delivering(pool) as (delivery, _):
        status = await status_from(delivery)
    assert (eqiad.begun, codfw.begun) == ([0.0], [0.0])
    assert status.unreachable
    assert b'"not accepted by main: codfw: cannot connect: Connection refused"' in status.described


async def test_a_single_endpoint_is_tried_twice() -> None:
    """And not a third time."""
    pool, fake = one(fails(INFRASTRUCTURE, 0.01))
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == Seen(0.02, "error", "eqiad:80", unreachable=True)
    assert fake.begun == [0.0, 0.01]


async def test_an_event_counts_once_against_an_address() -> None:
    """It may be to blame: two that are sent twice each do not eject the only address."""
    pool, fake = one(fails(INFRASTRUCTURE))
    async with delivering(pool) as (delivery, _):
        await deliver(delivery)
        await deliver(delivery)
        assert (len(fake.posts), all_healths(pool)) == (4, {EQIAD: Health.SUSPECTED})
        await deliver(delivery)
    assert all_healths(pool) == {EQIAD: Health.EJECTED}


async def test_an_address_that_was_just_ejected_is_not_tried_again() -> None:
    """With codfw out as well, the event goes to codfw as a trial, and not to eqiad again."""
    pool, eqiad, codfw = two(refuses())
    out(pool, Health.UNHEALTHY, CODFW)
    at(pool, EQIAD).standing.posts_failed_in_a_row = 2
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == Seen(0.0, "success", "codfw")
    assert (len(eqiad.posts), len(codfw.posts)) == (1, 1)
    assert all_healths(pool) == {EQIAD: Health.EJECTED, CODFW: Health.HEALTHY}


async def test_a_bug_fails_one_attempt() -> None:
    """An unexpected exception is reported, counts as ambiguous, and the events go to the other endpoint."""
    pool, _, _ = two(Act(end=KeyError("oops")))
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(0.0, "success", "codfw")
    assert recorder.all_of(Unexpected) == [Unexpected("delivery", "KeyError: 'oops'")]
    assert recorder.all_of(Resent) == [Resent("main", "eqiad", 1)]


class Mistaken(Judge):
    """Raises once an attempt has started."""

    def suspect_after(self, *_: object, **__: object) -> NoReturn:
        """Raise."""
        raise KeyError("oops")


async def test_a_bug_between_attempts_fails_one_delivery() -> None:
    """The producer is told of an internal error, and that the event may have been taken; the next is delivered."""
    pool, _, _ = two(Act())
    judge, pool.judge = pool.judge, Mistaken(pool.config.health_check, pool.config.outlier)
    async with delivering(pool) as (delivery, recorder):
        result = await result_from(delivery, [EVENT])
        assert isinstance(result, Undelivered)
        assert result.failure is FailureClass.AMBIGUOUS
        assert BUG in result.message
        pool.judge = judge
        assert (await deliver(delivery)).status == "success"
    assert recorder.all_of(Unexpected)[0] == Unexpected("delivery", "KeyError: 'oops'")


# --- lateness ---


async def test_a_late_answer_is_still_counted() -> None:
    """The other endpoint answers first; eqiad's answer ends the doubt and is counted as usual."""
    pool, _, _ = two(Act(takes=0.3), Act(takes=0.05))
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(0.15, "success", "codfw")
        assert all_healths(pool) == {EQIAD: Health.SUSPECTED, CODFW: Health.HEALTHY}
        assert at(pool, EQIAD).check_now.is_set()
    assert [(each.after, each.reason) for each in recorder.all_of(HealthChanged)] == [
        ("suspected", "no answer after 100 ms"),
        ("healthy", "it answered a POST"),
    ]
    posts = [(each.endpoint, each.events, round(each.seconds, 6)) for each in recorder.all_of(PostAnswered)]
    assert posts == [("codfw", 1, 0.05), ("eqiad", 1, 0.3)]
    assert recorder.all_of(Resent) == [Resent("main", "eqiad", 1)]


async def test_a_late_attempt_times_out() -> None:
    """Even if the other endpoint answered long before; it is counted, and the doubt stays."""
    pool, eqiad, _ = two(HANG, Act(takes=0.05))
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(0.15, "success", "codfw")
    assert now() == pytest.approx(1.5, abs=0.002)
    (failed,) = recorder.all_of(PostFailed)
    assert (failed.endpoint, failed.failure, failed.reason) == ("eqiad", AMBIGUOUS, "no answer within 1.5 s")
    assert failed.seconds == pytest.approx(1.5, abs=0.002)
    assert all_healths(pool) == {EQIAD: Health.SUSPECTED, CODFW: Health.HEALTHY}
    assert len(eqiad.posts) == 1


async def test_an_attempt_that_waits_for_a_connection_times_out() -> None:
    """If all connections to an address are in use; EventGate saw nothing, so the event is tried elsewhere in time."""
    pool, fake = one(NO_CONNECTION, timeouts={"connect": "200ms", "attempt": "300ms", "deadline": "1s"})
    fake._limits = Timeouts(connect=9.0, attempt=9.0, deadline=9.0)
    async with delivering(pool) as (delivery, _):
        status = await status_from(delivery)
    assert fake.begun == [0.0, pytest.approx(0.3, abs=0.002)]
    assert b"cannot connect within 0.3 s" in status.described


async def test_the_first_answer_wins() -> None:
    """If the late first attempt answers before the second; the second continues and is counted."""
    pool, _, codfw = two(Act(takes=0.12), Act(takes=0.5))
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(0.12, "success", "eqiad")
    assert codfw.sent[0].ended == pytest.approx(0.6)
    assert recorder.all_of(Resent) == [Resent("main", "eqiad", 1)]


async def test_an_attempt_not_yet_sent_is_given_up_when_another_answers() -> None:
    """The second attempt is still connecting: it is not sent, and nothing is duplicated."""
    pool, _, codfw = two(Act(takes=0.12), Act(connects=0.05))
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(0.12, "success", "eqiad")
    assert (len(codfw.posts), codfw.sent, recorder.all_of(Resent)) == (1, [], [])


async def test_an_endpoint_given_up_while_connecting_is_tried_again() -> None:
    """A single lost packet gave it up; it is well, and the other hangs: no event is refused while one would take it."""
    pool, _, codfw = two(NO_CONNECTION, HANG)
    eqiad = script(at(pool, EQIAD), NO_CONNECTION, otherwise=Act())
    async with delivering(pool) as (delivery, _):
        asyncio.get_running_loop().call_later(0.15, pool.judge.check_passed, pool.addresses[0].standing, 0.15)
        assert await deliver(delivery) == Seen(0.2, "success", "eqiad")
    assert (len(eqiad.posts), len(eqiad.sent), len(codfw.sent)) == (2, 1, 1)


async def test_an_endpoint_given_up_while_connecting_is_preferred_to_the_hanging_one() -> None:
    """A packet to codfw is lost while eqiad hangs: eqiad's other address is no better hope."""
    pool = make_pool({"eqiad": [EQIAD, "10.1.0.2"], "codfw": [CODFW]})
    fakes = [script(address, HANG) for address in pool.addresses[:2]]
    codfw = script(at(pool, CODFW), NO_CONNECTION, otherwise=Act())
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == Seen(0.2, "success", "codfw")
    assert (sum(len(fake.posts) for fake in fakes), len(codfw.posts)) == (1, 2)


async def test_a_second_attempt_that_was_never_sent_is_no_duplicate() -> None:
    """With eqiad late and codfw refusing twice, eqiad's answer is awaited, and nothing counts as resent."""
    pool, _, codfw = two(Act(takes=0.4), refuses())
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(0.4, "success", "eqiad")
    assert (len(codfw.posts), recorder.all_of(Resent)) == (2, [])


@pytest.mark.parametrize(
    ("eqiad", "expected"),
    [
        pytest.param(Act(takes=0.8), Seen(0.8, "success", "eqiad"), id="late"),
        pytest.param(HANG, Seen(1.5, "error", "eqiad", unreachable=True), id="never"),
        pytest.param(fails(AMBIGUOUS, 0.2), Seen(0.2, "error", "eqiad", unreachable=True), id="cut"),
        pytest.param(fails(INFRASTRUCTURE, 0.2), Seen(0.2, "success", "codfw"), id="502, not taken"),
    ],
)
async def test_on_ambiguous_fail_never_duplicates(eqiad: Act, expected: Seen) -> None:
    """Events that eqiad may have taken are not sent elsewhere."""
    pool, _, codfw = two(eqiad, on_ambiguous="fail")
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == expected
    assert (len(codfw.sent), recorder.all_of(Resent)) == (int(expected.endpoint == "codfw"), [])


async def test_the_answer_says_that_events_may_have_been_taken() -> None:
    """For an event that was sent twice without an answer."""
    pool, _, _ = two(fails(AMBIGUOUS), refuses())
    async with delivering(pool) as (delivery, _):
        status = await status_from(delivery)
    assert b'"not accepted by main: eqiad: it fails; it may have been taken nevertheless"' in status.described


@pytest.mark.parametrize(
    ("act", "on_ambiguous", "again"),
    [
        pytest.param(fails(REFUSED), "resend", False, id="refused"),
        pytest.param(fails(INFRASTRUCTURE), "fail", True, id="not taken"),
        pytest.param(fails(AMBIGUOUS), "resend", True, id="ambiguous"),
        pytest.param(fails(AMBIGUOUS), "spool", True, id="ambiguous, for the spool"),
        pytest.param(fails(AMBIGUOUS), "fail", False, id="ambiguous, and never twice"),
    ],
)
async def test_the_spool_may_take_what_may_be_sent_again(act: Act, on_ambiguous: str, *, again: bool) -> None:
    """Not what EventGate never takes, nor what must not be duplicated."""
    pool, _, _ = two(act, act, on_ambiguous=on_ambiguous)
    async with delivering(pool) as (delivery, _):
        assert (await status_from(delivery)).may_be_sent_again is again


# --- a loop that stands still ---


class BySocket(ScriptedEventGate):
    """Answers when data arrives on a socket."""

    def post(self, load: Load, tasks: asyncio.TaskGroup, on_result: OnResult) -> Attempt:
        """Post, and listen on the socket."""
        del tasks
        attempt = Attempt(load, on_result)
        attempt.sent_at = now()
        self.accept = when_told(lambda: on_result([SUCCESS] * len(load.events)))
        return attempt


def when_told(then: Callable[[], object]) -> Callable[[], None]:
    """Call `then` once from the loop, as for data from a socket."""
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()

    def read() -> None:
        loop.remove_reader(ours)
        ours.close()
        then()

    def tell() -> None:
        with theirs:
            theirs.send(b"now")

    loop.add_reader(ours, read)
    return tell


@pytest.mark.looptime(enabled=False)
def test_a_stalled_loop_does_not_make_an_endpoint_slow() -> None:
    """An answer that arrived during a stall is in time: no doubt, no second attempt."""
    pool = make_pool({"eqiad": [EQIAD], "codfw": [CODFW]})
    at(pool, EQIAD).eventgate = eqiad = BySocket(EQIAD, pool.config.timeouts, (), Act())

    def stand_still() -> None:
        eqiad.accept()
        threading.Event().wait(0.15)  # suspicion comes after 0.1 s

    async def delivered() -> Recorder:
        async with delivering(pool) as (delivery, recorder):
            status = asyncio.get_running_loop().create_task(status_from(delivery))
            await asyncio.sleep(0)
            when_told(stand_still)()
            assert (await status).status == "success"
        return recorder

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # whose timers come before all else
        recorder = runner.run(delivered())
    assert [type(each) for each in recorder.happenings] == [PostAnswered]


# --- EventGate has errors with events ---

CANNOT = Act(says="error")


async def test_events_that_one_endpoint_cannot_produce_go_to_the_other() -> None:
    """The producer does not notice; the one that cannot is suspected."""
    pool, eqiad, codfw = two(CANNOT, Act())
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == Seen(0.0, "success", "codfw")
    assert (len(eqiad.posts), len(codfw.posts)) == (1, 1)
    assert all_healths(pool) == {EQIAD: Health.SUSPECTED, CODFW: Health.HEALTHY}


async def test_events_that_no_endpoint_can_produce_may_be_sent_later() -> None:
    """While both return errors for all events, no event is to blame."""
    pool, _, _ = two(CANNOT, CANNOT)
    async with delivering(pool) as (delivery, _):
        status = await status_from(delivery)
    assert (status.status, status.unreachable, status.may_be_sent_again) == ("error", False, True)


async def test_an_event_with_errors_is_to_blame_if_others_pass() -> None:
    """It is not sent later, and does not affect the health of its endpoints."""
    pool, _, _ = two(CANNOT, CANNOT)
    async with delivering(pool) as (delivery, _):
        for address in pool.addresses:
            pool.judge.accepted(address.standing)
        status = await status_from(delivery)
    assert (status.status, status.may_be_sent_again) == ("error", False)
    assert {address.standing.health for address in pool.addresses} == {Health.HEALTHY}


async def test_a_late_attempt_is_awaited_after_an_error_elsewhere() -> None:
    """It accepted the event, and says so within the deadline."""
    pool, _, _ = two(Act(takes=0.4), CANNOT)
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == Seen(0.4, "success", "eqiad")


async def test_a_late_attempt_that_never_answers_is_ambiguous() -> None:
    """The event may have been accepted, so the answer is never "none was accepted"."""
    pool, _, _ = two(HANG, CANNOT)
    async with delivering(pool) as (delivery, _):
        status = await status_from(delivery)
    assert (status.status, status.unreachable) == ("error", True)


A, B = (Outgoing(place, EVENT.body, name, "s") for place, name in enumerate("ab"))


@pytest.mark.parametrize(
    ("eqiad", "codfw", "posted", "expected", "doubted"),
    [
        pytest.param("ee", "se", 2, [("success", "codfw"), ("error", "codfw")], True, id="codfw takes one"),
        pytest.param("ee", "es", 2, [("error", "codfw"), ("success", "codfw")], True, id="codfw takes the other"),
        pytest.param("es", "se", 1, [("success", "codfw"), ("success", "eqiad")], True, id="each takes one"),
        pytest.param("es", "ee", 1, [("error", "codfw"), ("success", "eqiad")], False, id="only eqiad takes one"),
        pytest.param("ei", "se", 1, [("success", "codfw"), ("invalid", "eqiad")], True, id="one is invalid"),
    ],
)
async def test_each_event_has_the_best_verdict_of_two_endpoints(
    eqiad: str, codfw: str, posted: int, expected: list[tuple[str, str]], *, doubted: bool
) -> None:
    """Only events with errors go on; an error left after an endpoint took another event is the event's fault."""
    words: dict[str, StatusWord] = {"s": "success", "e": "error", "i": "invalid"}
    pool, _, second = two(
        *(Act(says=dict(zip("ab", map(words.__getitem__, its), strict=True))) for its in (eqiad, codfw))
    )
    async with delivering(pool) as (delivery, _):
        result = await result_from(delivery, [A, B])
    assert isinstance(result, list)
    assert [(each.status, each.endpoint) for each in result] == expected
    assert not any(each.may_be_sent_again for each in result)
    assert [len(each.body) for each in second.posts] == [posted]
    assert all_healths(pool) == {EQIAD: Health.SUSPECTED if doubted else Health.HEALTHY, CODFW: Health.HEALTHY}


class Traces:
    """Traces loads and their attempts."""

    def __init__(self) -> None:
        """Start without any."""
        self.load = Load("main", [EVENT])
        self.before: list[int] = []
        """The number of earlier attempts of each attempt."""
        self.ends: list[object] = []
        """The results of attempts and loads."""

    def joined(self, headers: Sequence[Headers]) -> Headers:
        """Keep the first."""
        return headers[0]

    def begun(self, load: Load) -> tuple[Load, Traces]:
        """Trace it."""
        return load, self

    def posted(self, load: Load, address: Address, before: int) -> Traces:
        """Trace an attempt."""
        del load, address
        self.before.append(before)
        return self

    def emit(self, happening: Happening) -> None:
        """Nobody asks for it."""

    def ended(self, result: object, status: int | None = None) -> None:
        """Keep it."""
        del status
        self.ends.append(result)


async def test_every_attempt_is_traced() -> None:
    """With the number of those before it; each has its end, and so has the load."""
    pool, _, _ = two(fails(INFRASTRUCTURE), HANG)
    traces = Traces()
    async with delivering(pool, traces) as (delivery, _):
        await deliver(delivery)
    assert traces.before == [0, 1]
    assert [type(each).__name__ for each in traces.ends] == ["Failed", "Failed", "Undelivered"]
