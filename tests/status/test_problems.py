"""Promises of `problems`: the sentence at the top has the worst problem and its effect on events."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sidecar.status.problems import age, as_data, problems_of, rate, sentence
from sidecar.status.runbook import blocks_of, read_runbook
from sidecar.status.value import Level
from tests.statuses import CONFIGURATION, HANGS, NOW, address, endpoint, spool, status, upstream

OUT = endpoint("eqiad", address("unhealthy", HANGS))
UP = endpoint("codfw", address())
BOTH_OUT = upstream(OUT, endpoint("codfw", address("ejected", "it fails")), first=None)

PROBLEM = {"line": 7, "path": "routes[0].to", "message": "is 'a'"}


def said(**more: Any) -> tuple[list[Level], str]:
    """Return the levels of the problems, and the sentence."""
    now = status(**more)
    problems = problems_of(now)
    return [each.level for each in problems], sentence(now, problems)


def test_all_well() -> None:
    """The upstream, the rate, and that nothing waits."""
    assert said() == ([], "All well: staging → eqiad; 52 events/s; nothing waiting")


def test_one_datacenter_out_is_a_warning() -> None:
    """With its name, duration and reason, and the datacenter that gets the events."""
    levels, words = said(upstreams=(upstream(OUT, UP, first="codfw"),))
    assert (levels, words) == (
        [Level.WARNING],
        f"staging: eqiad has been down for 12 min ({HANGS}); events go to codfw",
    )


@pytest.mark.parametrize(
    ("kept", "meanwhile"),
    [
        (None, "There is no spool: events fail, and model servers get 503"),
        (spool(trouble="no space left"), "The spool cannot be used: events fail, and model servers get 503"),
        (
            spool(full=True, percent=100, events=8, oldest_seconds=200.0),
            "The spool is full: events fail, and model servers get 503; 8 events wait, the oldest for 3 min",
        ),
        (spool(), "Events are kept in the spool: nothing waiting yet"),
    ],
    ids=["no spool", "a broken one", "a full one", "an empty one"],
)
def test_both_datacenters_out_says_what_becomes_of_events(kept: Any, meanwhile: str) -> None:
    """The spool decides whether somebody has to get up."""
    words = [each.words for each in problems_of(status(upstreams=(BOTH_OUT,), spool=kept))]
    assert f"staging: no datacenter has answered for 12 min (eqiad: {HANGS}; codfw: it fails). {meanwhile}" in words


def test_an_upstream_that_gets_only_copies_is_a_warning() -> None:
    """Its failures do not affect events."""
    mirror = msgspec.structs.replace(BOTH_OUT, only_copies=True)
    levels, words = said(upstreams=(mirror,))
    assert (levels, words) == (
        [Level.WARNING],
        f"staging: no datacenter has answered for 12 min (eqiad: {HANGS}; codfw: it fails). "
        "It gets copies only; they are lost",
    )


@pytest.mark.parametrize(
    "other", [upstream(), msgspec.structs.replace(BOTH_OUT, only_copies=True)], ids=["well", "copies"]
)
def test_what_becomes_of_events_is_said_beside_another_upstream(other: Any) -> None:
    """That one does not say it."""
    words = said(upstreams=(msgspec.structs.replace(other, name="other"), BOTH_OUT))[1]
    assert words.count("Events are kept in the spool") == 1


def test_after_an_outage_without_events_the_datacenters_wait_for_one() -> None:
    """Checks pass again, but no event has tried it: not an outage. What is still out is reported."""
    back = endpoint("codfw", address("ejected", "it fails", awaits_trial=True))
    both = upstream(endpoint("eqiad", address("probation", "x", awaits_trial=True)), back)
    assert said(upstreams=(both,)) == (
        [Level.WARNING],
        "staging: eqiad and codfw are on probation, waiting for an event: their health checks pass again",
    )
    assert [each.words for each in problems_of(status(upstreams=(upstream(OUT, back, first="codfw"),)))] == [
        "staging: codfw is on probation, waiting for an event: its health checks pass again",
        f"staging: eqiad has been down for 12 min ({HANGS}); events go to codfw",
    ]


def test_one_on_probation_beside_one_that_answers_is_out() -> None:
    """Its next event is a trial; the others go elsewhere."""
    back = endpoint("eqiad", address("ejected", "it fails", awaits_trial=True))
    words = said(upstreams=(upstream(back, UP, first="codfw"),))[1]
    assert words == "staging: eqiad has been down for 12 min (it fails); events go to codfw"


def test_a_shared_reason_appears_once() -> None:
    """Without a duration if there is none: a name without an address was never checked."""
    gone = (endpoint(name, problem="no such name") for name in ("eqiad", "codfw"))
    assert "staging: no datacenter answers (eqiad and codfw: no such name). " in said(upstreams=(upstream(*gone),))[1]


def test_the_latest_reason_counts() -> None:
    """A datacenter that hung and now refuses connections refuses connections."""
    down = endpoint("eqiad", address("unhealthy", HANGS, check="refuses the connection", check_seconds=None))
    assert "(refuses the connection)" in said(upstreams=(upstream(down, UP, first="codfw"),))[1]


def test_the_effect_on_events_appears_once() -> None:
    """If two upstreams are out, the spool waits for both."""
    other = msgspec.structs.replace(BOTH_OUT, name="production")
    words = [each.words for each in problems_of(status(upstreams=(BOTH_OUT, other), spool=spool(events=8)))]
    assert ["8 events" in each for each in words] == [True, False]


def test_the_number_of_waiting_events_appears_once() -> None:
    """With an upstream that is out, or with the spool if all are up."""
    kept = spool(events=8, oldest_seconds=200.0)
    assert said(upstreams=(BOTH_OUT,), spool=kept)[0] == [Level.BAD]
    assert said(upstreams=(BOTH_OUT,), spool=kept)[1].endswith(
        "Events are kept in the spool: 8 events wait, the oldest for 3 min"
    )


def test_events_of_a_removed_upstream_are_reported() -> None:
    """They will never be sent."""
    kept = spool(events=3, upstreams={"old": 2, "staging": 1, "empty": 0})
    assert [each.words for each in problems_of(status(spool=kept)) if "upstream" in each.words] == [
        "2 events in the spool for old, an upstream that is no longer in the configuration: "
        "not sent unless the upstream comes back"
    ]


def test_a_name_that_does_not_resolve_is_out() -> None:
    """With the error from DNS."""
    gone = endpoint("eqiad", problem="no such name")
    _, words = said(upstreams=(upstream(gone, UP, first="codfw"),))
    assert words == "staging: eqiad is down (no such name); events go to codfw"


def test_an_outage_mentions_a_name_without_an_answer() -> None:
    """The datacenter may have moved."""
    out = endpoint("eqiad", address("unhealthy", HANGS), problem="no such name")
    words = [each.words for each in problems_of(status(upstreams=(upstream(out, UP, first="codfw"),)))]
    assert words == [
        f"staging: eqiad has been down for 12 min ({HANGS}); events go to codfw",
        "DNS fails for staging.svc.eqiad.wmnet (no such name); the last known addresses are in use",
    ]


def test_an_unusable_ca_file_is_reported_before_anything_fails() -> None:
    """Once, however many upstreams use it."""
    problem = "tls.ca_file /ca.pem cannot be read as PEM certificates: No such file or directory"
    two = (upstream(ca_problem=problem), msgspec.structs.replace(upstream(ca_problem=problem), name="production"))
    assert said(upstreams=two) == ([Level.WARNING], f"{problem}; the previous certificates stay in use")


def test_failing_dns_is_reported_once() -> None:
    """With the names concerned: a sidecar that starts now would have no address for them."""
    stale = (endpoint(name, address(), problem="timeout") for name in ("eqiad", "codfw"))
    assert said(upstreams=(upstream(*stale),)) == (
        [Level.WARNING],
        "DNS fails for staging.svc.eqiad.wmnet, staging.svc.codfw.wmnet (timeout); the last known addresses are in use",
    )


@pytest.mark.parametrize(
    ("addresses", "level", "words"),
    [
        ([address()], Level.WARNING, "; the last known addresses are in use"),
        ([], Level.BAD, "; no address of staging is known. Events are kept in the spool: nothing waiting yet"),
    ],
    ids=["while it runs", "at the start"],
)
def test_a_resolver_that_is_down_is_reported_as_such(addresses: list[Any], level: Level, words: str) -> None:
    """No name and no datacenter is blamed."""
    ends = (endpoint(name, *addresses, problem="no name server answered within 1.5 s") for name in ("eqiad", "codfw"))
    down = "The DNS resolver is down: none of 2 names can be looked up (no name server answered within 1.5 s)"
    assert said(upstreams=(upstream(*ends),)) == ([level], f"{down}{words}")


def test_a_single_name_without_an_answer_is_no_evidence_against_the_resolver() -> None:
    """Its own name server may be down."""
    silent = endpoint("eqiad", address(), problem="no name server answered within 1.5 s")
    assert said(upstreams=(upstream(silent),))[1].startswith("DNS fails for staging.svc.eqiad.wmnet (no name")


def test_one_name_that_resolves_clears_the_resolver() -> None:
    """Then the other name is to blame; a name in the hosts file is no evidence."""
    silent = endpoint("eqiad", address(), problem="no name server answered within 1.5 s")
    assert said(upstreams=(upstream(silent, UP),))[1].startswith("DNS fails for staging.svc.eqiad.wmnet (no name")


def test_the_time_until_the_spool_is_full_is_shown() -> None:
    """At the rate of the last minute, which tells whether somebody has to get up now."""
    kept = spool(events=8, oldest_seconds=200.0, lasts_seconds=5 * 3600.0)
    words = said(upstreams=(BOTH_OUT,), spool=kept)[1]
    assert words.endswith("8 events wait, the oldest for 3 min; at this rate it is full in 5 h")


def test_every_problem_says_what_to_do() -> None:
    """In a step, with the section of the runbook."""
    worst = endpoint("eqiad", address("unhealthy", HANGS), problem="timeout")
    probation = upstream(endpoint("eqiad", address("ejected", "x", awaits_trial=True)), first="eqiad")
    cases: list[dict[str, Any]] = [
        {"upstreams": (BOTH_OUT, msgspec.structs.replace(upstream(worst, UP, ca_problem="x"), name="b"), probation)},
        {"spool": spool(events=8, dead_letters=1, upstreams={"gone": 1})},
        *({"spool": each} for each in (spool(trouble="x"), spool(full=True), spool(percent=90))),
        {"configuration": {**CONFIGURATION, "refused": "x"}},
        {"last_minute": {"failed": 1, "refused": 1, "invalid": 1}},
    ]
    found = [each for case in cases for each in problems_of(status(**case))]
    headings = [block.text for block in blocks_of(read_runbook()) if block.kind == "h2"]
    assert [each for each in found if not each.step or each.runbook not in headings] == []
    assert len({each.words for each in found}) > 12


def test_an_upstream_without_a_route_wakes_nobody() -> None:
    """A staging pod does not need production."""
    unused = upstream(OUT, endpoint("codfw", address("ejected", "it fails")), first=None, used=False)
    assert said(upstreams=(unused,))[0] == []


def test_what_costs_events_comes_first() -> None:
    """A minor problem does not hide a major one; the sentence has the number of problems."""
    refused = {**CONFIGURATION, "refused": "routes.yaml: no such file"}
    levels, words = said(
        upstreams=(upstream(OUT, UP, first="codfw"),), configuration=refused, last_minute={"failed": 1}
    )
    assert levels == [Level.BAD, Level.WARNING, Level.WARNING]
    assert words.startswith("1 event in the last minute failed")
    assert words.endswith("(and 2 more problems)")


def test_a_datacenter_that_is_down_comes_before_what_can_wait() -> None:
    """An edit that is refused, what the spool is sending, and dead letters, in this order."""
    refused, kept = {**CONFIGURATION, "refused": "x"}, spool(events=3, dead_letters=2)
    down = upstream(OUT, UP, first="codfw")
    problems = problems_of(status(upstreams=(down,), spool=kept, configuration=refused))
    assert [each.runbook for each in problems] == [
        "One datacenter is down",
        "EventGateSidecarConfigRefused",
        "EventGateSidecarSpoolOld",
        "EventGateSidecarDeadLetters",
    ]


@pytest.mark.parametrize(
    ("problems", "why"),
    [
        ([], "routes.yaml: no such file"),
        ([PROBLEM], "line 7: routes[0].to is 'a'"),
        ([PROBLEM, PROBLEM, PROBLEM], "line 7: routes[0].to is 'a'; and 2 more problems"),
    ],
    ids=["no file", "a mistake", "three"],
)
def test_a_refused_file_is_shown_with_its_mistake(problems: list[Any], why: str) -> None:
    """It says that the edit is not in force, and where it is wrong."""
    refused = {**CONFIGURATION, "refused": "routes.yaml: no such file\nand more", "problems": problems}
    words = f"routes.yaml is refused, and the configuration from 2 h ago stays in force: {why}"
    assert said(configuration=refused) == ([Level.WARNING], words)


@pytest.mark.parametrize(
    ("kept", "level", "words"),
    [
        (
            spool(trouble="no space left"),
            Level.BAD,
            "The spool cannot be used: no space left. Events that need it get 503",
        ),
        (spool(percent=89), Level.BAD, "The spool is 89 % full; once it is full, events that need it get 503"),
        (
            spool(percent=100, full=True),
            Level.BAD,
            "The spool is full: events that need it are refused, and get 503",
        ),
        (
            spool(events=1, oldest_seconds=200.0, in_flight=1),
            Level.WARNING,
            "In the spool 1 event waits, the oldest for 3 min; 1 in flight",
        ),
        (
            spool(dead_letters=2),
            Level.WARNING,
            "2 dead letters in the spool, no longer sent",
        ),
    ],
    ids=["broken", "nearly full", "full", "waiting", "dead letters"],
)
def test_the_state_of_the_spool_is_shown(kept: Any, level: Level, words: str) -> None:
    """Broken, nearly full, full, not empty, or with dead letters."""
    assert said(spool=kept) == ([level], words)


def test_events_refused_by_a_full_spool_are_not_blamed_on_eventgate() -> None:
    """The sentence names the spool, although these events count as failed."""
    words = said(spool=spool(percent=100, full=True, events=8), last_minute={"failed": 3})[1]
    assert words.startswith("The spool is full: events that need it are refused, and get 503 (and ")


@pytest.mark.parametrize(
    ("outcome", "level"), [("invalid", Level.WARNING), ("refused", Level.WARNING), ("failed", Level.BAD)]
)
def test_failed_events_are_reported(outcome: str, level: Level) -> None:
    """For a minute, with their number."""
    levels, words = said(last_minute={"delivered": 9, outcome: 2})
    assert (levels, words.startswith("2 events in the last minute ")) == ([level], True)


def test_events_are_counted_in_singular_and_plural() -> None:
    """One was refused, two were."""
    assert said(last_minute={"refused": 1})[1].startswith("1 event in the last minute was refused")
    assert said(last_minute={"refused": 2})[1].startswith("2 events in the last minute were refused")


def test_a_start_is_no_problem() -> None:
    """Before the first look-up nothing is reported."""
    fresh = upstream(endpoint("eqiad", problem="not looked up yet"), first=None)
    assert said(upstreams=(fresh,)) == ([], "Starting: the first DNS look-ups and health checks are in progress")


def test_a_pod_without_routes_is_reported() -> None:
    """Its events are refused."""
    words = "All well: no route leads anywhere from this pod; 52 events/s; nothing waiting"
    assert said(upstreams=(upstream(used=False),)) == ([], words)


def test_programs_read_the_same() -> None:
    """JSON with the sentence and the data behind it."""
    data = json.loads(json.dumps(as_data(status(upstreams=(upstream(OUT, UP, first="codfw"),)))))
    assert data["sentence"].startswith("staging: eqiad has been down")
    assert (data["level"], data["problems"][0]["level"], data["now"]) == ("warning", "warning", NOW)
    assert data["upstreams"][0]["endpoints"][0]["addresses"][0]["reason"] == HANGS


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_an_age_is_short(seconds: float, words: str) -> None:
    """One number, exact enough."""
    assert age(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 events/s"), (0.1, "0.1 events/s"), (52.4, "52 events/s")])
def test_a_rate_is_short(number: float, words: str) -> None:
    """Tenths only where they matter."""
    assert rate(number) == words
