"""Promises of `tries`: what an attempt's result says about its address."""

from __future__ import annotations

import pytest

from sidecar.delivery.tries import Try
from sidecar.eventgate.client import Attempt, Result
from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Load
from sidecar.events.results import BUG, SUCCESS, EventStatus, Outcome, placed
from sidecar.telemetry.happenings import Happening, HealthChanged, PostAnswered, PostFailed, Resent, Unexpected
from sidecar.upstreams.health import OUT, Health
from tests.scripted import EQIAD, EVENT, make_pool

ERROR = EventStatus("error", Outcome.FAILED)
INVALID = EventStatus("invalid", Outcome.INVALID)


def begun(
    happenings: list[Happening],
    *,
    trial: bool = False,
    first: str | None = None,
    doubted: bool = False,
    again: bool = False,
) -> Try:
    """Return an attempt sent at 10.5 s, half a second after it started."""
    pool = make_pool({"eqiad": [EQIAD], "codfw": ["10.2.0.1"]})
    each = Try(
        pool,
        pool.addresses[0],
        trial,
        10.0,
        12.0,
        Load("main", [EVENT], doubted=doubted),
        [0],
        first,
        again,
        happenings.append,
    )
    each.attempt = Attempt(Load("main", [EVENT]), None, sent_at=10.5)
    return each


def judged(each: Try, result: Result) -> list[EventStatus] | Failed:
    """Return the outcome of an attempt that ended at 11 s."""
    return each.judge(result, 1, 11.0, lambda: 0.5)


@pytest.mark.parametrize("trial", [False, True])
@pytest.mark.parametrize("failed", ["doubted", "again"])
def test_events_that_failed_before_say_nothing_against_an_address(failed: str, *, trial: bool) -> None:
    """They may be to blame: a health check is requested, unless the address is on trial anyway."""
    each = begun([], trial=trial, doubted=failed == "doubted", again=failed == "again")
    judged(each, Failed(FailureClass.AMBIGUOUS, "cut"))
    assert each.address.check_now.is_set()
    assert (each.address.standing.health is Health.HEALTHY) is not trial


@pytest.mark.parametrize("failure", [FailureClass.REFUSED, FailureClass.THROTTLED])
def test_an_address_that_refuses_a_doubted_event_needs_no_check(failure: FailureClass) -> None:
    """It has just answered."""
    each = begun([], doubted=True)
    judged(each, Failed(failure, "no"))
    assert not each.address.check_now.is_set()


@pytest.mark.parametrize("failure", FailureClass)
def test_only_failures_against_the_address_request_a_check(failure: FailureClass) -> None:
    """An address that refuses or throttles is alive."""
    happenings: list[Happening] = []
    each = begun(happenings)
    failed = Failed(failure, "it fails")
    assert judged(each, failed) == failed
    assert happenings[0] == PostFailed("main", "eqiad", failure, "it fails", 1.0)
    fault = failure not in (FailureClass.REFUSED, FailureClass.THROTTLED)
    assert each.address.check_now.is_set() is fault
    assert each.address.standing.health is (Health.SUSPECTED if fault else Health.HEALTHY)
    assert [told.after for told in happenings if isinstance(told, HealthChanged)] == [Health.SUSPECTED] * fault


def test_a_bug_is_reported_and_ambiguous() -> None:
    """The events may have been taken."""
    happenings: list[Happening] = []
    assert judged(begun(happenings), KeyError("oops")) == Failed(FailureClass.AMBIGUOUS, BUG)
    assert happenings[0] == Unexpected("delivery", "KeyError: 'oops'")


def test_an_answer_is_timed_from_when_it_was_sent() -> None:
    """Waiting for a connection does not count against the address."""
    happenings: list[Happening] = []
    each = begun(happenings)
    assert judged(each, [SUCCESS]) == placed([SUCCESS], "main", "eqiad")
    assert happenings == []
    each.note_answer([SUCCESS, SUCCESS])
    assert happenings == [PostAnswered("main", "eqiad", 2, 1.0)]
    assert list(each.address.standing.seconds) == [0.5]


def test_an_error_counts_against_an_endpoint_only_if_another_takes_the_event() -> None:
    """The event may be to blame: one bad producer must not cost the others their endpoint."""
    happenings: list[Happening] = []
    each = begun(happenings)
    judged(each, [SUCCESS])
    seen = []
    for statuses in ([SUCCESS], [ERROR, INVALID], [ERROR], [INVALID], [ERROR], [ERROR, SUCCESS], [ERROR]):
        with_others = each.errs_with_others(statuses)
        each.note_answer(statuses)
        seen.append((with_others, each.address.standing.posts_failed_in_a_row))
    assert [with_others for with_others, _ in seen] == [False, False, True, True, True, False, False]
    assert {failures for _, failures in seen} == {0}
    happenings.clear()
    for _ in range(3):
        each.note_answer([ERROR])
        each.note_that_another_took_them(12.0, lambda: 0.5)
    assert each.address.standing.health is Health.EJECTED
    changed = [told for told in happenings if isinstance(told, HealthChanged)]
    assert [told.after for told in changed] == [Health.SUSPECTED, Health.HEALTHY] * 2 + [Health.EJECTED]
    assert changed[0].reason == "EventGate has errors with events that another endpoint takes"


def test_a_bug_in_recording_an_outcome_does_not_change_it() -> None:
    """It is reported, and the producers get EventGate's statuses."""
    happenings: list[Happening] = []

    def broken() -> float:
        raise OverflowError("(34, 'Numerical result out of range')")

    each = begun(happenings)
    failed = Failed(FailureClass.AMBIGUOUS, "it fails")
    assert each.judge(failed, 1, 11.0, broken) == failed
    each.note_that_another_took_them(11.0, broken)
    told = [each for each in happenings if isinstance(each, Unexpected)]
    assert [each.where for each in told] == ["health", "health"]


def test_a_stall_does_not_count() -> None:
    """Neither towards timeouts nor towards the answer time."""
    each = begun([])
    each.late_at = 10.6
    each.put_off(3.0)
    assert (each.began, each.ends_by, each.late_at) == (13.0, 15.0, 13.6)
    assert each.attempt is not None
    assert each.attempt.sent_at == 13.5


def test_possible_duplicates_are_reported() -> None:
    """With the endpoint that may have taken the events already."""
    happenings: list[Happening] = []
    judged(begun(happenings, first="codfw"), [SUCCESS])
    assert happenings == [Resent("main", "codfw", 1)]


@pytest.mark.parametrize("status", [SUCCESS, ERROR], ids=["success", "error"])
def test_an_answered_trial_ends_the_probation(status: EventStatus) -> None:
    """Whatever EventGate says about the events, and it is told."""
    happenings: list[Happening] = []
    each = begun(happenings, trial=True)
    each.address.standing.health = Health.PROBATION
    judged(each, [status])
    each.note_answer([status])
    assert [told.after for told in happenings if isinstance(told, HealthChanged)] == [Health.HEALTHY]


@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize(("over", "sent_at"), [(True, None), (False, None), (True, 10.5)], ids=["over", "not", "sent"])
def test_an_address_given_up_before_it_was_sent_to_may_be_tried_again(
    health: Health, sent_at: float | None, *, over: bool
) -> None:
    """Unless it is out."""
    each = begun([])
    each.address.standing.health = health
    each.attempt, each.over = Attempt(Load("main", [EVENT]), None, sent_at=sent_at), over
    assert each.given_up is (over and sent_at is None and health not in OUT)


def test_a_refused_trial_proves_that_the_address_answers() -> None:
    """It decides for the address."""
    happenings: list[Happening] = []
    each = begun(happenings, trial=True)
    each.address.standing.health = Health.PROBATION
    judged(each, Failed(FailureClass.REFUSED, "it refuses"))
    assert [each.after for each in happenings if isinstance(each, HealthChanged)] == [Health.HEALTHY]


class Trace:
    """Records its calls."""

    def __init__(self) -> None:
        """Nothing is told yet."""
        self.load = Load("main", [EVENT])
        self.told: list[object] = []

    def emit(self, happening: Happening) -> None:
        """Record it."""
        self.told.append(happening)

    def ended(self, outcome: list[EventStatus] | Failed, status: int | None) -> None:
        """Record it."""
        self.told.append((outcome, status))


def test_a_trace_gets_the_outcome() -> None:
    """With the status of the answer, if there was one."""
    each = begun([])
    each.end_trace([SUCCESS])
    each.trace = trace = Trace()
    each.attempt = Attempt(Load("main", [EVENT]), None, status=201)
    each.end_trace([SUCCESS])
    each.attempt = None
    each.end_trace(Failed(FailureClass.NEVER_SENT, "given up"))
    assert trace.told == [([SUCCESS], 201), (Failed(FailureClass.NEVER_SENT, "given up"), None)]
