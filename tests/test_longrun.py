"""The long run's own computations: the schedule follows from the seed, and failures are found and reported."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from tests.longrun import client, report, schedule
from tests.longrun.findings import Findings, calm_spans, found, misses
from tests.longrun.records import (
    Life,
    Records,
    Request,
    Sample,
    Trouble,
    arrivals_in,
    complaints_in,
    exposed,
    requests_in,
)

BEGUN = 1000.0
EVENTS = "eventgate_sidecar_events_total"
REQUESTS = "eventgate_sidecar_requests_total"


def life(number: int = 1, began: float = BEGUN - 1, **more: object) -> Life:
    """Return a sidecar that is stopped at the end."""
    ends: dict[str, object] = {"signal": "SIGTERM", "told": BEGUN + 60, "ended": BEGUN + 61, "status": 0, **more}
    return Life(number, Path(f"sidecar-{number}.log"), 1, began, began + 0.5, **ends)  # type: ignore[arg-type]


def request(first: int = 0, sent: float = 1.0, kind: str = "lone", fate: str = "201", **more: object) -> Request:
    """Return a request; seconds from the beginning."""
    values: dict[str, object] = {"took": 0.01, "lag": 0.0, "count": 1, "words": "delivered", "failed": "-", **more}
    return Request(sent=BEGUN + sent, first=first, kind=kind, fate=fate, **values)  # type: ignore[arg-type]


def sample(at: float = 2.0, memory: int = 70_000_000, files: int = 20, **counts: int) -> Sample:
    """Return a sample of a sidecar with these counts."""
    metrics = {f'{EVENTS}{{stream="score",outcome="{outcome}"}}': float(count) for outcome, count in counts.items()}
    metrics[f'{REQUESTS}{{status="201"}}'] = float(sum(counts.values()))
    return Sample(1, BEGUN + at, BEGUN + at + 0.1, memory, files, 5, 1.0, metrics)


def records(*requests: Request, **more: object) -> Records:
    """Return the records of a minute without failures, changed by `more`."""
    values: dict[str, object] = {
        "requests": list(requests),
        "lives": [life()],
        "samples": [],
        "troubles": [],
        "arrived": {number: 1 for each in requests for number in range(each.first, each.first + each.count)},
        "dead": frozenset(),
        "left": 0,
        "complaints": [],
        "logged": {},
        "processor": {"sidecar": 6.0},
        "machine_load": (1.0, 2.0, 3.0),
        **more,
    }
    return Records(schedule.made(1, 60.0), BEGUN, BEGUN + 60.0, **values)  # type: ignore[arg-type]


# --- the schedule ---


def test_a_run_is_a_function_of_its_seed() -> None:
    """A bad run can be repeated; another seed is another run."""
    assert schedule.made(7, 600.0) == schedule.made(7, 600.0)
    assert schedule.made(7, 600.0) != schedule.made(8, 600.0)


@pytest.mark.parametrize("seed", range(20))
def test_faults_follow_each_other_and_kills_stay_in_the_first_act(seed: int) -> None:
    """Each fault ends before the next, and all before the end; a fault at a start affects that start only."""
    plan = schedule.made(seed, 1800.0)
    assert all(before.until < after.at for before, after in itertools.pairwise(plan.faults))
    assert plan.faults[-1].until < plan.seconds
    assert {each.name for each in plan.faults} == set(schedule.ANYTIME)
    assert 0 < len([each for each in plan.kills if each.at <= plan.second_act]) == len(plan.kills)
    beside = [kill for kill in plan.kills if kill.fault]
    assert not [
        (kill, each)
        for kill in beside
        for each in plan.faults
        if each.at < kill.at + schedule.START_SECONDS and kill.at < each.until
    ]


def test_three_minutes_have_some_of_everything() -> None:
    """The run in CI has both kinds of kills and of edits, several faults, and every load."""
    plan = schedule.made(2, 180.0)
    assert {each.signal for each in plan.kills} == set(schedule.KILLS)
    assert {each.kind for each in plan.edits} == set(schedule.EDITS)
    assert {each.rate for each in plan.phases} == set(schedule.RATES)
    assert len({each.name for each in plan.faults}) >= 6


def test_the_phases_determine_how_many_events_are_due() -> None:
    """Two seconds of 100 and one of 0 are 200 events, evenly."""
    ticks = list(client.due([schedule.Phase(0.0, 100), schedule.Phase(2.0, 0)], 3.0))
    assert ticks[-1][1] == pytest.approx(200)
    assert ticks[len(ticks) // 3][1] == pytest.approx(100, abs=1)


# --- records ---


def test_a_request_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A line of the producers' output gives the request, with the failures that the answer lists."""
    output = tmp_path / "requests"
    with output.open("w") as file:
        producers = client.Producers(("127.0.0.1", 1), 1, file)
        posted = client.Request("mixed", 5, 3, "agent", 0.25)
        spoilt = json.loads(client.body("mixed", 5, 3))[-1]
        body = json.dumps({"invalid": [{"event": spoilt}], "error": []}).encode()
        producers.answered(posted, 207, "mixed; upstream=staging", body)
    (seen,) = requests_in(output)
    assert (seen.kind, seen.first, seen.count, seen.fate, seen.words, seen.lag) == ("mixed", 5, 3, "207", "mixed", 0.25)
    assert list(seen.promised) == [5, 6]
    assert list(seen.spoilt) == [7]


def test_a_refusal_of_a_whole_request_counts_no_events(tmp_path: Path) -> None:
    """As with a 503 for too much in flight: the sidecar has not read them."""
    output = tmp_path / "requests"
    with output.open("w") as file:
        producers = client.Producers(("127.0.0.1", 1), 1, file)
        producers.answered(client.Request("lone", 0, 1, "agent", 0.0), 503, "refused", b'{"status": 503}')
    (seen,) = requests_in(output)
    assert (seen.events, list(seen.promised)) == (0, [])


def test_arrivals_are_counted_by_event(tmp_path: Path) -> None:
    """Each line of an EventGate's file counts once, though it holds the event twice."""
    output = tmp_path / "eqiad.events"
    texts = [client.event(number) for number in (3, 4, 3)]
    output.write_text("".join(f'{{"name":"eqiad","event":{text},"raw":{json.dumps(text)}}}\n' for text in texts))
    assert arrivals_in([output]) == {3: 2, 4: 1}


def test_a_traceback_in_a_log_is_found_and_a_refused_file_is_not(tmp_path: Path) -> None:
    """Intended log lines are no finding; a line that is not JSON is one."""
    log = tmp_path / "sidecar-1.log"
    log.write_text('{"log.level":"error","event":{"action":"ConfigRefused"}}\nTraceback (most recent call last):\n')
    assert complaints_in([log]) == ["sidecar-1.log: Traceback (most recent call last):"]


def test_metrics_are_read_by_their_labels() -> None:
    """Buckets and comments are left out."""
    text = '# HELP a b\na_total{x="1"} 2.0\nb_bucket{le="1"} 3.0\nc 4.0\n'
    assert exposed(text) == {'a_total{x="1"}': 2.0, "c": 4.0}


# --- findings ---


def missed(these: Records) -> list[str]:
    """Return the failed checks, except those that a run of a few requests always fails."""
    return [each for each in misses(found(these)) if "never checked" not in each]


def test_all_well() -> None:
    """A run without failures passes every check."""
    assert missed(records(request(0), request(1), request(2, kind="invalid", fate="400", words="invalid"))) == []


def test_an_event_answered_2xx_that_never_arrived_is_lost() -> None:
    """Only such an event: nothing is promised for a refused one."""
    these = records(request(0), request(1), request(2, fate="503", words="failed", failed="2"), arrived={0: 1})
    assert found(these).lost == [1]


def test_an_invalid_event_that_was_spooled_must_be_a_dead_letter() -> None:
    """It was answered 202 and EventGate rejects it; a valid event must not be a dead letter."""
    spooled = request(0, kind="invalid", fate="202", words="spooled")
    assert found(records(spooled, arrived={}, dead=frozenset({0}))).lost == []
    assert found(records(spooled, arrived={})).lost == [0]
    assert missed(records(request(0), arrived={}, dead=frozenset({0}))) == [
        "answered 2xx and lost: 1, such as [0]",
        "valid events among the dead letters: [0]",
    ]


def test_a_post_that_a_kill_cut_off_is_no_loss_and_no_miss() -> None:
    """It is counted separately; without a kill it is a miss."""
    cut = request(1, sent=9.99, fate="cut", words="-")
    killed = [life(1, signal="SIGKILL", told=BEGUN + 10, ended=BEGUN + 10, status=-9), life(2, BEGUN + 11)]
    assert dict(found(records(request(0), cut, lives=killed)).killed) == {"cut": 1}
    assert missed(records(request(0), cut, lives=killed)) == []
    assert missed(records(request(0), cut)) == ["not answered as they should be: 1 x cut"]


def test_a_valid_event_that_is_not_answered_2xx_is_a_miss() -> None:
    """With a spool, each valid event can be answered 2xx."""
    assert missed(records(request(0), request(1, fate="503", words="failed", failed="1"))) == [
        "not answered as they should be: 1 x 503 failed"
    ]


@pytest.mark.parametrize(
    ("counts", "wrong"),
    [
        pytest.param({"delivered": 2}, [], id="right"),
        pytest.param({"delivered": 1, "failed": 1}, ["1 delivered", "1 failed"], id="a wrong outcome"),
        pytest.param({"delivered": 3}, ["3 events", "3 requests", "3 delivered"], id="one too many"),
        pytest.param({"delivered": 1}, ["1 events", "1 requests", "1 delivered"], id="one too few"),
    ],
)
def test_sums_are_compared_with_the_producers_records(counts: dict[str, int], wrong: list[str]) -> None:
    """While nothing is in flight, every outcome must be counted exactly."""
    sums = found(records(request(0), request(1), samples=[sample(**counts)])).sums
    assert (sums.checked, sums.exact) == (1, 1)
    assert [words.removeprefix("life 1: ").partition(" counted")[0] for words in sums.wrong] == wrong


def test_what_is_in_flight_may_be_counted_or_not() -> None:
    """A request that was sent before a sample and answered after it may be in the sums."""
    under_way = request(1, sent=1.99, took=1.0)
    for counts in ({"delivered": 1}, {"delivered": 2}):
        sums = found(records(request(0), under_way, samples=[sample(**counts)])).sums
        assert (sums.exact, list(sums.wrong)) == (0, [])


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        pytest.param({}, {}, [], id="flat"),
        pytest.param({}, {"memory": 120_000_000}, ["memory grew from 70.0 to 120.0 MB"], id="memory"),
        pytest.param({}, {"files": 60}, ["open files grew from 20 to 60"], id="files"),
        pytest.param({"memory": 120_000_000, "files": 60}, {}, [], id="shrinking"),
    ],
)
def test_growth_in_the_last_life_is_reported(first: dict[str, int], last: dict[str, int], words: list[str]) -> None:
    """The median of the last third is compared with that of the first."""
    looks = [sample(10.0 + each, **(first if each < 4 else last), delivered=1) for each in range(12)]
    assert missed(records(request(0), samples=looks)) == words


def test_a_run_that_becomes_slower_is_reported() -> None:
    """At the same load, while nothing is wrong."""
    rate = next(each for each in schedule.made(1, 60.0).phases if each.rate == 200)
    phase = dataclasses.replace(rate, at=0.0)
    plan = dataclasses.replace(schedule.made(1, 60.0), phases=(phase,))
    early = [request(number, sent=number / 100, took=0.002) for number in range(200)]
    late = [request(200 + number, sent=50 + number / 100, took=0.5) for number in range(200)]
    these = dataclasses.replace(records(*early, *late), schedule=plan)
    assert missed(these) == ["at 200 events a second p50 went from 2.0 to 500.0 ms"]


def test_calm_spans_leave_out_faults_and_their_after_effects() -> None:
    """Faults and kills have effects for some seconds."""
    killed = [life(1, signal="SIGKILL", told=BEGUN + 40, ended=BEGUN + 40, status=-9), life(2, BEGUN + 41)]
    spans = calm_spans(records(lives=killed, troubles=[Trouble("blackholed", BEGUN + 10, BEGUN + 15)]))
    assert [(began - BEGUN, ended - BEGUN) for began, ended in spans] == [(0, 10), (24, 40), (44.5, 60)]


def test_waiting_events_tracebacks_and_bad_exits_are_reported() -> None:
    """An event left in the spool, a traceback in the log, and an unexpected exit status."""
    ill = [life(status=1)]
    assert missed(records(request(0), left=3, complaints=["sidecar-1.log: Traceback"], lives=ill)) == [
        "still in the spool at the end: 3",
        "the log speaks of a bug: sidecar-1.log: Traceback",
        "life 1, sent SIGTERM, ended with status 1",
    ]


def test_the_page_and_the_picture_show_the_findings(tmp_path: Path) -> None:
    """The page and the terminal show a miss, and the picture has the points of each panel."""
    log = tmp_path / "sidecar-1.log"
    log.touch()
    these = records(request(0), left=3, samples=[sample(delivered=1)], lives=[dataclasses.replace(life(), log=log)])
    findings: Findings = found(these)
    assert "**Not held:** still in the spool at the end: 3." in report.in_markdown(these, findings, "it.png")
    assert "NOT HELD  still in the spool at the end: 3" in report.in_text(these, findings)
    drawing = json.loads(json.dumps(report.drawing(these, findings)))
    assert all(line["points"] for panel in drawing["panels"] for line in panel["lines"] if not line["dots"])
