"""Limits of `journey`: attempts, second attempts, trials and time."""

from __future__ import annotations

import pytest

from sidecar.eventgate.failures import FailureClass
from sidecar.telemetry.happenings import HealthChanged, Resent
from sidecar.upstreams.health import Health
from tests.scripted import (
    CODFW,
    EQIAD,
    ESAMS,
    HANG,
    NO_CONNECTION,
    Act,
    Seen,
    all_healths,
    at,
    bare_pool,
    deliver,
    deliver_many,
    delivering,
    fails,
    make_pool,
    now,
    one,
    out,
    script,
    status_from,
    two,
)

pytestmark = pytest.mark.looptime

AMBIGUOUS, INFRASTRUCTURE = FailureClass.AMBIGUOUS, FailureClass.INFRASTRUCTURE
THROTTLED, REFUSED = FailureClass.THROTTLED, FailureClass.REFUSED


# --- two attempts reach an endpoint at most ---

THREE = {"eqiad": [EQIAD], "codfw": [CODFW], "esams": [ESAMS]}


@pytest.mark.parametrize(
    ("acts", "expected", "sent"),
    [
        pytest.param(
            [fails(AMBIGUOUS), fails(AMBIGUOUS), Act()],
            Seen(0.0, "error", "codfw", unreachable=True),
            [1, 1, 0],
            id="both fail",
        ),
        pytest.param(
            [fails(AMBIGUOUS, 0.15), Act(connects=0.08), Act()],
            Seen(0.18, "success", "codfw"),
            [1, 1, 0],
            id="the first fails while the second connects",
        ),
        pytest.param(
            [NO_CONNECTION, Act(connects=0.01, takes=0.01), Act()],
            Seen(0.12, "success", "codfw"),
            [0, 1, 0],
            id="the first is given up",
        ),
        pytest.param(
            [HANG, NO_CONNECTION, Act(takes=0.01)],
            Seen(0.21, "success", "esams"),
            [1, 0, 1],
            id="the second is given up",
        ),
        pytest.param([HANG, HANG, Act()], Seen(1.6, "error", "codfw", unreachable=True), [1, 1, 0], id="both hang"),
    ],
)
async def test_no_third_attempt_reaches_an_endpoint(acts: list[Act], expected: Seen, sent: list[int]) -> None:
    """Whatever the number of addresses."""
    pool = make_pool(THREE)
    fakes = [script(address, otherwise=act) for address, act in zip(pool.addresses, acts, strict=True)]
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == expected
    assert [len(fake.sent) for fake in fakes] == sent


@pytest.mark.parametrize(
    ("events", "at_once"),
    [
        pytest.param(9, 9, id="less than ten"),
        pytest.param(10, 10, id="ten"),
        pytest.param(11, 10, id="eleven"),
        pytest.param(49, 10, id="just under fifty"),
        pytest.param(60, 12, id="sixty"),
    ],
)
async def test_second_attempts_at_a_slow_endpoint_have_a_budget(events: int, at_once: int) -> None:
    """20 % of events in flight may be sent twice, and always ten; the others wait, and none is lost."""
    pool, _, codfw = two(HANG, Act(takes=0.3))
    at(pool, CODFW).standing.health = Health.SUSPECTED
    async with delivering(pool) as (delivery, recorder):
        answers = await deliver_many(delivery, events)
    assert {(each.status, each.endpoint) for each in answers} == {("success", "codfw")}
    assert (codfw.begun.count(0.1), len(recorder.all_of(Resent))) == (at_once, events)
    assert (pool.budget.in_flight, pool.budget.second_attempts) == (0, 0)


async def test_second_attempts_at_a_healthy_endpoint_need_no_budget() -> None:
    """All events stuck at a hanging endpoint go to the other one as soon as they are late."""
    pool, _, codfw = two(HANG, Act(takes=0.05))
    async with delivering(pool) as (delivery, _):
        assert await deliver_many(delivery, 200) == [Seen(0.15, "success", "codfw")] * 200
    assert codfw.begun == [0.1] * 200


async def test_an_event_that_waits_for_the_budget_takes_the_first_answer() -> None:
    """Of twenty late events ten also go to codfw, which is slow; all take eqiad's answer."""
    pool, _, codfw = two(Act(takes=0.2), HANG)
    at(pool, CODFW).standing.health = Health.SUSPECTED
    async with delivering(pool) as (delivery, _):
        assert await deliver_many(delivery, 20) == [Seen(0.2, "success", "eqiad")] * 20
    assert len(codfw.posts) == 10


async def test_waiting_for_the_budget_ends_with_the_deadline() -> None:
    """If both endpoints hang, waiting events are answered at the deadline like the others."""
    pool, _, _ = two(HANG, HANG, timeouts={"attempt": "3s"})
    async with delivering(pool) as (delivery, _):
        answers = await deliver_many(delivery, 30)
    assert {each.status for each in answers} == {"error"}
    assert max(each.at for each in answers) <= 4.0


# --- throttling ---


@pytest.mark.parametrize(
    ("acts", "expected", "begun"),
    [
        pytest.param([fails(THROTTLED, 0.0, 1.0), Act()], Seen(1.0, "success", "eqiad:80"), [0.0, 1.0], id="1 s"),
        pytest.param([fails(THROTTLED), Act()], Seen(0.0, "success", "eqiad:80"), [0.0, 0.0], id="no time named"),
        pytest.param([fails(THROTTLED, 0.0, 2.5), Act()], Seen(2.5, "success", "eqiad:80"), [0.0, 2.5], id="just fits"),
        pytest.param(
            [fails(THROTTLED, 0.0, 2.6), Act()], Seen(0.0, "error", "eqiad:80", unreachable=True), [0.0], id="too long"
        ),
        pytest.param(
            [fails(THROTTLED, 0.0, 1.0)] * 2,
            Seen(1.0, "error", "eqiad:80", unreachable=True),
            [0.0, 1.0],
            id="throttled again",
        ),
    ],
)
async def test_a_single_throttling_endpoint_gets_its_retry_after(
    acts: list[Act], expected: Seen, begun: list[float]
) -> None:
    """It is not tried again if that leaves no time for an attempt."""
    pool, fake = one(*acts)
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == expected
    assert fake.begun == begun


async def test_a_throttling_endpoint_gets_its_retry_after_if_the_other_is_out() -> None:
    """With codfw unhealthy there is no other endpoint."""
    pool, eqiad, _ = two(Act())
    eqiad = script(at(pool, EQIAD), fails(THROTTLED, 0.0, 1.0))
    out(pool, Health.UNHEALTHY, CODFW)
    async with delivering(pool) as (delivery, _):
        assert await deliver(delivery) == Seen(1.0, "success", "eqiad")
    assert eqiad.begun == [0.0, 1.0]


# --- trials ---


@pytest.mark.parametrize("health", [Health.UNHEALTHY, Health.EJECTED, Health.PROBATION], ids=str)
async def test_with_nothing_healthy_one_event_is_a_trial(health: Health) -> None:
    """Of five events at once four are answered at once that no endpoint is available."""
    pool, fake = one(Act(takes=0.05))
    out(pool, health, EQIAD)
    at(pool, EQIAD).standing.ejected_until = 60.0
    async with delivering(pool) as (delivery, _):
        answers = await deliver_many(delivery, 5)
        assert sorted(answers, key=lambda each: each.at) == [Seen(0.0, "error", "", unreachable=True)] * 4 + [
            Seen(0.05, "success", "eqiad:80")
        ]
        assert all_healths(pool) == {EQIAD: Health.HEALTHY}
        assert await deliver(delivery) == Seen(0.1, "success", "eqiad:80")
    assert len(fake.posts) == 2


async def test_one_event_at_a_time_tries_an_address_on_probation() -> None:
    """Of three events at once one is the trial, the others go to a healthy endpoint."""
    pool, eqiad, codfw = two(Act(takes=0.01))
    out(pool, Health.PROBATION, EQIAD)
    async with delivering(pool) as (delivery, _):
        answers = await deliver_many(delivery, 3)
    assert sorted(each.endpoint for each in answers) == ["codfw", "codfw", "eqiad"]
    assert (len(eqiad.posts), len(codfw.posts), at(pool, EQIAD).on_trial) == (1, 2, False)


async def test_the_only_endpoint_left_is_tried_again() -> None:
    """A lost packet gave it up, and the other endpoint is down: no event is refused while one would take it."""
    pool, _, codfw = two(Act())
    eqiad = script(at(pool, EQIAD), fails(FailureClass.NEVER_SENT, 0.05), otherwise=Act())
    out(pool, Health.UNHEALTHY, CODFW)
    async with delivering(pool) as (delivery, _):
        assert (await deliver(delivery)).endpoint == "eqiad"
    assert (len(eqiad.posts), len(codfw.posts)) == (2, 0)


async def test_the_second_attempt_at_the_only_endpoint_goes_to_its_other_address() -> None:
    """The first address failed just now, so it comes last."""
    pool = make_pool({"eqiad": [EQIAD, "10.1.0.2"]})
    fakes = [script(address, otherwise=fails(INFRASTRUCTURE)) for address in pool.addresses]
    async with delivering(pool) as (delivery, _):
        await deliver(delivery)
    assert [len(fake.posts) for fake in fakes] == [1, 1]


@pytest.mark.parametrize(
    ("eqiad", "answered_at", "after", "reason"),
    [
        pytest.param(fails(INFRASTRUCTURE, 0.01), 0.01, "ejected", "it fails", id="fails"),
        pytest.param(NO_CONNECTION, 0.1, "ejected", "still connecting after 100 ms", id="given up while connecting"),
        pytest.param(fails(THROTTLED, 0.01), 0.01, "healthy", "it answered a POST", id="throttled: it is there"),
    ],
)
async def test_a_trial_decides(eqiad: Act, answered_at: float, after: str, reason: str) -> None:
    """It ends the probation either way, and after a failure codfw answers its event."""
    pool, _, _ = two(eqiad)
    out(pool, Health.PROBATION, EQIAD)
    async with delivering(pool) as (delivery, recorder):
        assert await deliver(delivery) == Seen(answered_at, "success", "codfw")
    assert recorder.all_of(HealthChanged) == [HealthChanged("main", "eqiad", EQIAD, "probation", after, reason)]


async def test_a_failed_trial_is_repeated_once_per_event() -> None:
    """With a single address out, an event tries it at most twice, and no other event meanwhile."""
    pool, fake = one(fails(INFRASTRUCTURE, 0.01))
    out(pool, Health.UNHEALTHY, EQIAD)
    async with delivering(pool) as (delivery, _):
        answers = await deliver_many(delivery, 5)
    assert [each.status for each in answers] == ["error"] * 5
    assert len(fake.posts) == 2


# --- the beginning, and the end ---


async def test_without_any_address_the_answer_is_immediate() -> None:
    """If DNS has returned nothing yet, the error says so."""
    pool = bare_pool("eqiad", "codfw")
    pool.looked_at.set()
    async with delivering(pool) as (delivery, _):
        status = await status_from(delivery)
        assert now() == 0.0
    assert b"no endpoint of main is available: eqiad: not looked up yet; codfw: not looked up yet" in status.described


async def test_the_deadline_is_kept_with_attempts_in_flight() -> None:
    """The answer says that the events may have been taken nevertheless."""
    pool, _ = one(HANG, timeouts={"attempt": "4s"})
    async with delivering(pool) as (delivery, _):
        status = await status_from(delivery)
        assert now() == pytest.approx(4.0, abs=0.002)
    assert status.unreachable
    assert b"it may have been taken nevertheless" in status.described
