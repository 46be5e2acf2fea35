"""Promises of `journey` for any behaviour of endpoints."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import looptime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.results import EventStatus
from sidecar.telemetry.happenings import Resent
from sidecar.upstreams.health import Health
from tests.scripted import NEVER, Act, Posted, delivering, make_pool, now, script, status_from

thoroughly = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

CONNECTS = st.sampled_from([0.0, 0.013, 0.27, NEVER])
TAKES = st.sampled_from([0.0, 0.031, 0.17, 0.9, NEVER])
ENDS = st.sampled_from([None, None, *(Failed(each, str(each)) for each in FailureClass), KeyError("oops")])
ACTS = st.builds(Act, CONNECTS, TAKES, ENDS)
SCRIPTS = st.lists(ACTS, min_size=1, max_size=3)
"""What an address does to its first POST, its second and so on; the last for ever."""


@dataclass(frozen=True)
class Case:
    """The addresses of a pool with their behaviour, and the settings of the upstream."""

    places: dict[str, list[str]]
    scripts: list[tuple[Health, list[Act]]]
    deadline: float
    attempt: float
    on_ambiguous: str


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw one to three endpoints with one or two addresses each."""
    names = ("eqiad", "codfw", "esams")[: draw(st.integers(1, 3))]
    places = {
        name: [f"10.{number}.0.{host}" for host in range(draw(st.integers(1, 2)))] for number, name in enumerate(names)
    }
    count = sum(map(len, places.values()))
    return Case(
        places,
        draw(st.lists(st.tuples(st.sampled_from(Health), SCRIPTS), min_size=count, max_size=count)),
        draw(st.sampled_from([0.3, 1.0, 4.0])),
        draw(st.sampled_from([0.25, 0.3, 1.5])),
        draw(st.sampled_from(["resend", "fail"])),
    )


async def play(case: Case) -> tuple[EventStatus, float, list[Posted], int]:
    """Deliver one event; return its status, when it came, all POSTs in order, and how many counted as resent."""
    timeouts = {"connect": "200ms", "attempt": f"{min(case.attempt, case.deadline)}s", "deadline": f"{case.deadline}s"}
    pool = make_pool(case.places, timeouts=timeouts, on_ambiguous=case.on_ambiguous)
    fakes = []
    for address, (health, acts) in zip(pool.addresses, case.scripts, strict=True):
        address.standing.health, address.standing.ejected_until = health, 60.0
        fakes.append(script(address, *acts, otherwise=acts[-1]))
    async with delivering(pool) as (delivery, recorder):
        status = await status_from(delivery)
        answered_at = now()
    assert [address.on_trial for address in pool.addresses] == [False] * len(fakes)
    posts = sorted((each for fake in fakes for each in fake.posts), key=lambda each: each.number)
    return status, answered_at, posts, sum(each.events for each in recorder.all_of(Resent))


def doubled(posts: list[Posted]) -> int:
    """Count the POSTs sent although an earlier one may have been taken, as far as was known then."""
    count = 0
    for number, post in enumerate(posts):
        before = posts[:number]
        open_ones = [each for each in before if each.sent < NEVER and each.ended > post.begun]
        lost = [each for each in before if each.ended <= post.begun and unclear(each)]
        count += post.sent < NEVER and bool(open_ones or lost)
    return count


def unclear(post: Posted) -> bool:
    """Whether EventGate may have taken it: the failure was ambiguous, or unexpected."""
    return isinstance(post.end, Exception) or (
        isinstance(post.end, Failed) and post.end.failure is FailureClass.AMBIGUOUS
    )


@thoroughly
@given(cases())
def test_whatever_happens_the_limits_are_kept(case: Case) -> None:
    """An answer by the deadline, from the first attempt with a verdict; at most two sent, duplicates counted."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        status, answered_at, posts, resent = runner.run(play(case))
    sent = [each for each in posts if each.sent < NEVER]
    accepted = sorted((each for each in sent if each.end is None), key=lambda each: each.ended)
    assert answered_at <= case.deadline + 0.002
    assert len(sent) <= 2
    assert resent == doubled(posts)
    assert resent == 0 or case.on_ambiguous == "resend"
    if status.status == "success":
        assert status.described == accepted[0].took
        assert abs(answered_at - accepted[0].ended) < 0.001
    else:
        assert [each for each in accepted if each.ended < answered_at - 0.001] == []
