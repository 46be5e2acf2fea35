"""Promises of `health`: its transitions and thresholds."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routes.language.config import HealthCheck, Outlier
from sidecar.upstreams.health import DOWN, OUT, TRANSITIONS, Health, Judge, Signal, Standing, Transition, returning

ROOT = Path(__file__).parent.parent.parent

UNKNOWN, HEALTHY, SUSPECTED = Health.UNKNOWN, Health.HEALTHY, Health.SUSPECTED
UNHEALTHY, EJECTED, PROBATION = Health.UNHEALTHY, Health.EJECTED, Health.PROBATION
____ = None

EXPECTED: dict[Signal, tuple[Health | None, ...]] = {
    #                       UNKNOWN    HEALTHY    SUSPECTED  UNHEALTHY  EJECTED    PROBATION
    Signal.CHECK_PASSED:   (HEALTHY,   ____,      HEALTHY,   ____,      ____,      ____),
    Signal.CHECKS_PASSED:  (____,      ____,      ____,      PROBATION, ____,      ____),
    Signal.CHECK_FAILED:   (UNHEALTHY, ____,      UNHEALTHY, ____,      ____,      ____),
    Signal.CHECKS_FAILED:  (____,      UNHEALTHY, ____,      ____,      UNHEALTHY, UNHEALTHY),
    Signal.ANSWERED:       (HEALTHY,   ____,      HEALTHY,   ____,      ____,      ____),
    Signal.DOUBT:          (SUSPECTED, SUSPECTED, ____,      ____,      ____,      ____),
    Signal.OUTLIER:        (EJECTED,   EJECTED,   EJECTED,   ____,      ____,      EJECTED),
    Signal.EJECTION_OVER:  (____,      ____,      ____,      ____,      PROBATION, ____),
    Signal.TRIAL_ANSWERED: (HEALTHY,   ____,      HEALTHY,   HEALTHY,   HEALTHY,   HEALTHY),
    Signal.TRIAL_FAILED:   (____,      ____,      ____,      ____,      ____,      EJECTED),
}  # fmt: skip
"""What each signal makes of each state; nothing: it stays."""


def judge(**outlier: object) -> Judge:
    """Return a judge with the defaults, except for these settings of `outlier`."""
    return Judge(HealthCheck(), Outlier.read(outlier))


def healths(changes: list[Transition]) -> list[Health]:
    """Return the states passed through."""
    return [change.after for change in changes]


@pytest.mark.parametrize(
    ("before", "signal"), list(itertools.product(Health, Signal)), ids=lambda each: each.name.lower()
)
def test_every_signal_in_every_state(before: Health, signal: Signal) -> None:
    """The table of transitions is the one written out here, pair by pair."""
    assert TRANSITIONS[before].get(signal) == EXPECTED[signal][list(Health).index(before)]


def test_the_sets_of_states_that_are_out_and_down() -> None:
    """Only unhealthy, ejected and probation are out; probation is not down."""
    assert {UNHEALTHY, EJECTED, PROBATION} == OUT
    assert {UNHEALTHY, EJECTED} == DOWN


# --- health checks ---


@pytest.mark.parametrize(
    ("failures", "after"),
    [
        pytest.param(2, HEALTHY, id="one less than fall"),
        pytest.param(3, UNHEALTHY, id="fall"),
        pytest.param(4, UNHEALTHY, id="one more"),
    ],
)
def test_checks_failing_in_a_row_make_it_unhealthy(failures: int, after: Health) -> None:
    """From the third failed check in a row."""
    standing = Standing(HEALTHY)
    for second in range(failures):
        judge().check_failed(standing, "answers 503", float(second))
    assert standing.health is after


def test_a_passed_check_resets_the_streak() -> None:
    """Two failures, a pass and two failures leave a healthy address healthy."""
    standing = Standing(HEALTHY)
    for passed in (False, False, True, False, False):
        if passed:
            judge().check_passed(standing, 1.0)
        else:
            judge().check_failed(standing, "answers 503", 1.0)
    assert standing.health is HEALTHY
    judge().check_failed(standing, "answers 503", 1.0)
    assert standing.health is UNHEALTHY


def test_a_change_of_state_resets_the_streak() -> None:
    """Checks that failed during an ejection do not count in the probation after it."""
    standing = Standing(EJECTED, ejected_until=60.0)
    for second in (1.0, 2.0):
        judge().check_failed(standing, "answers 503", second)
    judge().time_passed(standing, 60.0)
    found = []
    for second in (61.0, 62.0, 63.0):
        judge().check_failed(standing, "answers 503", second)
        found.append(standing.health)
    assert found == [PROBATION, PROBATION, UNHEALTHY]


@pytest.mark.parametrize(
    ("passes", "after"),
    [
        pytest.param(1, UNHEALTHY, id="one less than rise"),
        pytest.param(2, PROBATION, id="rise"),
        pytest.param(3, PROBATION, id="one more"),
    ],
)
def test_checks_passing_in_a_row_bring_it_back_on_probation(passes: int, after: Health) -> None:
    """From the second passed check in a row."""
    standing = Standing(UNHEALTHY)
    for second in range(passes):
        judge().check_passed(standing, float(second))
    assert standing.health is after


@pytest.mark.parametrize("before", [UNKNOWN, SUSPECTED], ids=str)
def test_one_check_decides_about_an_unknown_or_suspected_address(before: Health) -> None:
    """It becomes healthy or unhealthy."""
    passed, failed = Standing(before), Standing(before)
    judge().check_passed(passed, 7.0)
    judge().check_failed(failed, "refuses the connection", 7.0)
    assert (passed.health, passed.since, str(passed)) == (HEALTHY, 7.0, "healthy (its health check passed)")
    assert (failed.health, str(failed)) == (UNHEALTHY, "unhealthy (refuses the connection)")


@pytest.mark.parametrize("passes", [1, 2, 3, 100])
def test_passing_checks_do_not_end_an_ejection(passes: int) -> None:
    """However many pass."""
    standing = Standing(EJECTED, ejected_until=60.0)
    changes = [change for second in range(passes) for change in judge().check_passed(standing, float(second))]
    assert (standing.health, changes) == (EJECTED, [])


@pytest.mark.parametrize("passes", [1, 2, 100])
def test_passing_checks_do_not_end_a_probation(passes: int) -> None:
    """It ends by a POST, or by failed checks."""
    standing = Standing(PROBATION)
    for second in range(passes):
        judge().check_passed(standing, float(second))
    assert standing.health is PROBATION


@pytest.mark.parametrize(
    ("standing", "jitter", "seconds"),
    [
        pytest.param(Standing(HEALTHY), 0.0, 4.0, id="healthy, earliest"),
        pytest.param(Standing(HEALTHY), 0.5, 5.0, id="healthy"),
        pytest.param(Standing(HEALTHY), 1.0, 6.0, id="healthy, latest"),
        pytest.param(Standing(SUSPECTED), 0.5, 1.0, id="suspected"),
        pytest.param(Standing(HEALTHY, failed_in_a_row=1), 0.5, 1.0, id="healthy, one failure"),
        pytest.param(Standing(HEALTHY, passed_in_a_row=1), 0.5, 5.0, id="healthy, one pass"),
        pytest.param(Standing(UNHEALTHY), 0.5, 5.0, id="unhealthy"),
        pytest.param(Standing(UNHEALTHY, passed_in_a_row=1), 0.5, 1.0, id="unhealthy, one pass"),
        pytest.param(Standing(UNHEALTHY, failed_in_a_row=1), 0.5, 5.0, id="unhealthy, one failure"),
        pytest.param(Standing(EJECTED, failed_in_a_row=1), 0.5, 1.0, id="ejected, one failure"),
        pytest.param(Standing(EJECTED, passed_in_a_row=1), 0.5, 5.0, id="ejected, one pass"),
        pytest.param(Standing(PROBATION, passed_in_a_row=1), 0.5, 5.0, id="probation, one pass"),
    ],
)
def test_checks_are_more_frequent_during_a_streak(standing: Standing, jitter: float, seconds: float) -> None:
    """5 s apart, and 1 s if one more may change the state; jittered by 20 %."""
    assert judge().interval(standing, jitter) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("standing", "wanted"),
    [
        pytest.param(Standing(HEALTHY, last_answer=95.001), False, id="healthy, answered just now"),
        pytest.param(Standing(HEALTHY, last_answer=95.0), True, id="healthy, answered an interval ago"),
        pytest.param(Standing(HEALTHY), True, id="healthy, never answered"),
        *(pytest.param(Standing(each, last_answer=100.0), True, id=each) for each in Health if each != HEALTHY),
    ],
)
def test_a_check_is_skipped_after_an_answered_post(standing: Standing, *, wanted: bool) -> None:
    """Only if the address is healthy and answered within the last interval."""
    assert judge().wants_check(standing, 100.0) is wanted


@pytest.mark.parametrize(
    ("standing", "awaits"),
    [
        pytest.param(Standing(PROBATION), True, id="probation"),
        pytest.param(Standing(PROBATION, failed_in_a_row=1), False, id="probation, and a check failed"),
        pytest.param(Standing(EJECTED, passed_in_a_row=1), False, id="ejected, one check passed"),
        pytest.param(Standing(EJECTED, passed_in_a_row=2), True, id="ejected, checks pass"),
        pytest.param(Standing(UNHEALTHY, passed_in_a_row=1), False, id="unhealthy"),
        pytest.param(Standing(HEALTHY, passed_in_a_row=9), False, id="healthy"),
        pytest.param(Standing(UNKNOWN), False, id="unknown"),
    ],
)
def test_an_address_that_awaits_a_trial(standing: Standing, *, awaits: bool) -> None:
    """Its checks pass, and only a POST can bring it back."""
    assert judge().awaits_trial(standing) is awaits


def test_a_failed_post_outweighs_the_checks_before_it() -> None:
    """An EventGate whose checks pass while it takes no events is not considered recovered."""
    standing = Standing(EJECTED, passed_in_a_row=9)
    judge().failed(standing, "no answer", 1.0, 0.5, trial=True)
    assert judge().awaits_trial(standing) is False
    judge().check_passed(standing, 2.0)
    assert judge().awaits_trial(standing) is False
    judge().check_passed(standing, 3.0)
    assert judge().awaits_trial(standing) is True


@pytest.mark.parametrize("health", Health, ids=str)
def test_an_address_that_comes_back_is_still_out(health: Health) -> None:
    """Otherwise it is unknown until it is checked."""
    before = Standing(health, reason="before", ejections=3)
    after = returning(before)
    assert (after.health, after.ejections) == (health if health in OUT else UNKNOWN, 3)
    assert (after is before) is (health in OUT)


# --- real POSTs ---


@pytest.mark.parametrize(
    ("failures", "after"),
    [
        pytest.param(1, SUSPECTED, id="the first"),
        pytest.param(2, SUSPECTED, id="one less than consecutive"),
        pytest.param(3, EJECTED, id="consecutive"),
        pytest.param(4, EJECTED, id="one more"),
    ],
)
def test_posts_failing_in_a_row_eject(failures: int, after: Health) -> None:
    """One failure raises doubt, the third in a row ejects."""
    standing = Standing(HEALTHY)
    for second in range(failures):
        judge().failed(standing, "connection lost", float(second), 0.5)
    assert standing.health is after


def test_an_answer_resets_the_streak_of_failed_posts() -> None:
    """Two failures, an answer, two failures: doubt each time, but no ejection."""
    standing = Standing(HEALTHY)
    for second in range(3):
        judge().failed(standing, "connection lost", float(second), 0.5)
        judge().failed(standing, "connection lost", float(second), 0.5)
        assert standing.health is SUSPECTED
        judge().answered(standing, 0.01, float(second))
        assert standing.health is HEALTHY


@pytest.mark.parametrize(
    ("failures", "answers", "after"),
    [
        pytest.param(5, 4, SUSPECTED, id="one POST less than requests"),
        pytest.param(5, 5, EJECTED, id="half of ten"),
        pytest.param(4, 6, SUSPECTED, id="one failure less than half of ten"),
        pytest.param(6, 6, EJECTED, id="half of twelve"),
        pytest.param(50, 51, SUSPECTED, id="just under half"),
        pytest.param(51, 51, EJECTED, id="half of many"),
    ],
)
def test_a_failure_rate_ejects(failures: int, answers: int, after: Health) -> None:
    """If half of at least ten POSTs fail; those before an ejection no longer count after it."""
    standing = Standing(HEALTHY)
    for _ in range(answers):
        judge(consecutive=1000).answered(standing, 0.01, 1.0)
    for _ in range(failures):
        judge(consecutive=1000).failed(standing, "connection lost", 1.0, 0.5)
    assert standing.health is after
    assert (len(standing.ended_at) == 0) is (after is EJECTED)


@pytest.mark.parametrize(
    ("now", "after"),
    [
        pytest.param(30.0, EJECTED, id="at its edge"),
        pytest.param(30.001, SUSPECTED, id="just past it"),
    ],
)
def test_only_posts_within_the_window_count(now: float, after: Health) -> None:
    """A failure of 30 s ago counts towards the rate, an older one does not."""
    standing = Standing(HEALTHY)
    judge(consecutive=1000).failed(standing, "connection lost", 0.0, 0.5)
    for answered_at in range(5):
        judge(consecutive=1000).answered(standing, 0.01, 5.0 + answered_at)
    for failed_at in (15.0, 15.0, 15.0, now):
        judge(consecutive=1000).failed(standing, "connection lost", failed_at, 0.5)
    assert standing.health is after


def test_only_the_last_posts_count() -> None:
    """For a busy address the last thousand; earlier failures are forgotten."""
    standing = Standing(HEALTHY)
    for number, failed in enumerate([False] * 500 + [True] * 400 + [False] * 700 + [True]):
        if failed:
            judge(consecutive=1000).failed(standing, "connection lost", number / 1000, 0.5)
        else:
            judge().answered(standing, 0.01, number / 1000)
    assert (len(standing.ended_at), len(standing.failed_at)) == (1000, 300)


@pytest.mark.parametrize(
    ("jitter", "seconds"),
    [
        pytest.param(0.0, [3.75, 7.5, 15.0, 30.0, 45.0, 45.0], id="earliest"),
        pytest.param(0.5, [5.0, 10.0, 20.0, 40.0, 60.0, 60.0], id="middle"),
        pytest.param(1.0, [6.25, 12.5, 25.0, 50.0, 75.0, 75.0], id="latest"),
    ],
)
def test_each_ejection_in_a_row_is_twice_as_long(jitter: float, seconds: list[float]) -> None:
    """5 s, 10 s, 20 s and so on up to 60 s, each jittered by 25 %; then probation begins."""
    standing, now, lasted = Standing(PROBATION), 100.0, []
    for _ in seconds:
        judge().failed(standing, "no answer", now, jitter, trial=True)
        until = standing.ejected_until
        lasted.append(until - now)
        assert judge().time_passed(standing, until - 0.001) == []
        over = Transition(EJECTED, PROBATION, Signal.EJECTION_OVER, "its ejection is over")
        assert judge().time_passed(standing, until) == [over]
        now = until
    assert lasted == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("healthy_for", "next_ejection"),
    [
        pytest.param(59.9, 40.0, id="not long enough"),
        pytest.param(60.0, 5.0, id="as long as the longest ejection"),
    ],
)
@pytest.mark.parametrize("doubted", [False, True], ids=["never doubted", "doubted and cleared"])
def test_ejections_are_forgotten_after_lasting_health(
    healthy_for: float, next_ejection: float, *, doubted: bool
) -> None:
    """After 60 s of health the next ejection is short again, whatever doubt there was."""
    standing = Standing(PROBATION, ejections=3)
    judge().answered(standing, 0.01, 100.0, trial=True)
    if doubted:
        judge().late(standing, 0.1, 130.0)
        judge().answered(standing, 0.01, 131.0)
    judge().answered(standing, 0.01, 100.0 + healthy_for)
    for _ in range(3):
        judge().failed(standing, "connection lost", 200.0, 0.5)
    assert standing.ejected_until == 200.0 + next_ejection


def test_an_answered_trial_ends_a_probation() -> None:
    """The address is healthy, and its failback time starts."""
    standing = Standing(PROBATION, ejections=2)
    changes = judge().answered(standing, 0.01, 50.0, trial=True)
    assert changes == [Transition(PROBATION, HEALTHY, Signal.TRIAL_ANSWERED, "it answered a POST")]
    assert (standing.since, standing.back_since, standing.ejections) == (50.0, 50.0, 2)


def test_a_failed_trial_ends_a_probation() -> None:
    """It ejects at once, without a streak."""
    standing = Standing(PROBATION)
    changes = judge().failed(standing, "no answer", 50.0, 0.5, trial=True)
    assert changes == [Transition(PROBATION, EJECTED, Signal.TRIAL_FAILED, "no answer")]
    assert (standing.since, standing.ejected_until) == (50.0, 55.0)


@pytest.mark.parametrize("before", [UNHEALTHY, EJECTED, PROBATION], ids=str)
def test_only_a_trial_brings_back_an_address_that_is_out(before: Health) -> None:
    """A late answer to an earlier POST proves nothing."""
    standing = Standing(before)
    assert (judge().answered(standing, 1.4, 1.0), standing.health) == ([], before)


def test_cleared_doubt_does_not_start_the_failback_time() -> None:
    """An address that was only suspected keeps its place."""
    standing = Standing(HEALTHY)
    judge().late(standing, 0.123, 10.0)
    assert (str(standing), standing.since) == ("suspected (no answer after 123 ms)", 10.0)
    judge().answered(standing, 0.2, 10.1)
    assert (standing.health, standing.since, standing.back_since) == (HEALTHY, 10.1, float("-inf"))


@pytest.mark.parametrize(
    ("seconds", "attempt", "late_after"),
    [
        pytest.param([], 1.5, 0.1, id="no answer yet"),
        pytest.param([0.3] * 19, 1.5, 0.1, id="one answer too few"),
        pytest.param([0.3] * 20, 1.5, 0.9, id="enough answers"),
        pytest.param([0.002] * 100, 1.5, 0.1, id="quick answers"),
        pytest.param([0.002] * 191 + [9.0] * 9, 1.5, 0.1, id="less than five in a hundred slow: one busy moment"),
        pytest.param([0.002] * 189 + [0.2] * 11, 1.5, 0.6, id="more than five in a hundred slow"),
        pytest.param([9.0] * 150 + [0.002] * 195 + [9.0] * 5, 1.5, 0.1, id="what was long ago is forgotten"),
        pytest.param(
            [9.0] + [0.002] * 190 + [9.0] * 9 + [0.002], 1.5, 0.1, id="the oldest of two hundred is the one forgotten"
        ),
        pytest.param([2.0] * 100, 1.5, 1.5, id="slower than an attempt may take"),
        pytest.param([], 0.05, 0.05, id="an attempt shorter than the least"),
    ],
)
def test_when_an_answer_is_late(seconds: list[float], attempt: float, late_after: float) -> None:
    """After three times the p95 of the last answers, at least 100 ms, at most an attempt."""
    standing = Standing(HEALTHY)
    for each in seconds:
        judge().answered(standing, each, now=1.0)
    assert judge().suspect_after(standing, attempt) == pytest.approx(late_after)


# --- whatever comes ---

OBSERVATIONS = (
    "passed",
    "failed check",
    "answered",
    "failed",
    "late",
    "time",
    "trial answered",
    "trial failed",
)


def observe(standing: Standing, what: str, now: float, jitter: float) -> list[Transition]:
    """Apply one observation."""
    match what:
        case "passed":
            return judge().check_passed(standing, now)
        case "failed check":
            return judge().check_failed(standing, "answers 503", now)
        case "answered" | "trial answered":
            return judge().answered(standing, 0.01, now, trial=what.startswith("trial"))
        case "failed" | "trial failed":
            return judge().failed(standing, "no answer", now, jitter, trial=what.startswith("trial"))
        case "late":
            return judge().late(standing, 0.1, now)
        case _:
            return judge().time_passed(standing, now)


@given(st.lists(st.tuples(st.sampled_from(OBSERVATIONS), st.floats(0, 20), st.floats(0, 1)), max_size=60))
def test_all_changes_follow_the_table(walk: list[tuple[str, float, float]]) -> None:
    """Each change follows from the previous state, and time never runs backwards."""
    standing, now = Standing(), 0.0
    for what, seconds, jitter in walk:
        now += seconds
        health, since, ejected = standing.health, standing.since, standing.ejections
        for change in observe(standing, what, now, jitter):
            assert (change.before, TRANSITIONS[change.before][change.signal]) == (health, change.after)
            health, since = change.after, now
            if change.after is EJECTED:
                assert now + 3.75 <= standing.ejected_until <= now + 75.0
                assert standing.ejections == ejected + 1
        assert (standing.health, standing.since, standing.back_since <= now) == (health, since, True)


def test_the_documentation_has_the_current_table() -> None:
    """`make docs` was run after the last change of the table."""
    renewed = runpy.run_path(str(ROOT / "scripts" / "health_diagram.py"))["renewed"]
    page = (ROOT / "docs" / "health.md").read_text(encoding="utf-8")
    assert page == renewed(page)
