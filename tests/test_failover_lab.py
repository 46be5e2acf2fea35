"""Failover with real hosts: what only they can show, and that the lab counts correctly."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.netns import experiment, needs, report
from tests.netns.lab import Lab, built
from tests.netns.measure import Answer, Book, Measured, Timeline, measure
from tests.netns.scenarios import SCENARIOS, Bars, Outage, Scenario, misses

TIMELINE = Timeline(begun=0.0, injected=2.0, healed=6.0, ended=10.0)
TRIES = 3
BUSY_MS = 20
"""If traffic is later than this, the machine was too busy."""
SIMULATED = frozenset(
    [
        "frozen",
        "slow",
        "reset",
        "unavailable",
        "unrouted",
        "dripping",
        "dns-silent",
        "dns-stopped",
        "no-such-name",
        "no-such-names",
        "no-data",
        "forty-addresses",
    ]
)
"""Scenarios that only `python -m tests.netns` runs: answers of an EventGate, a proxy or DNS need no real host, and the
long run and the simulator have them too. One of each kind runs here, to keep CI short."""
HOME = frozenset({"eqiad"})
FRAME = dataclasses.replace(SCENARIOS[0], bars=Bars(worst_ms=300, slow=1))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """Hosts, DNS and emulated datacenters, built once for all scenarios."""
    if why := needs.missing():
        pytest.skip(f"FAILOVER IS NOT TESTED: the lab cannot run here: {why}")
    async with built(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "scenario", [each for each in SCENARIOS if each.name not in SIMULATED], ids=lambda scenario: scenario.name
)
async def test_a_fault_is_survived(lab: Lab, scenario: Scenario, tmp_path: Path) -> None:
    """With each fault of the preferred datacenter, the model server is answered and no event is lost."""
    for left in reversed(range(TRIES)):
        folder = tmp_path / str(left)
        folder.mkdir()
        measured = await experiment.run(lab, scenario, folder)
        missed = misses(scenario, measured)
        if not missed:
            return
        if not left or measured.lost or measured.lag_ms < BUSY_MS:  # a busy machine does not excuse a lost event
            pytest.fail(_words(scenario, measured, missed, folder), pytrace=False)


def _words(scenario: Scenario, measured: Measured, missed: list[str], folder: Path) -> str:
    numbers = dataclasses.asdict(measured)
    return "\n".join(
        [
            f"{scenario.name}: {scenario.title}",
            *(f"  NOT HELD: {each}" for each in missed),
            "  measured: " + ", ".join(f"{name}={value}" for name, value in numbers.items()),
            "  (lag_ms is how late the traffic itself was: over some 20, the machine was busy otherwise)",
            "  the end of the sidecar's log:",
            experiment.log_tail(folder),
        ]
    )


def answer(identifier: str, sent: float, took: float = 0.01, status: int | None = 201) -> Answer:
    """Return an answer at this time."""
    return Answer(identifier, sent, took, status, "", retry_after="1" if status == 503 else "")


def counted(answers: list[Answer], hosts: dict[str, list[str]], grace: float = 0.0) -> Measured:
    """Measure these answers and files."""
    return measure(Book(answers, hosts), TIMELINE, HOME, grace=grace)


def test_an_event_answered_2xx_that_is_in_no_file_is_lost() -> None:
    """Only an event answered 2xx can be lost; it may be in any file."""
    answers = [
        answer("there", 1.0),
        answer("elsewhere", 1.0),
        answer("lost", 1.0),
        answer("refused", 1.0, status=503),
    ]
    assert counted(answers, {"there": ["eqiad"], "elsewhere": ["codfw"]}).lost == 1


def test_an_event_in_two_files_or_twice_in_one_is_doubled() -> None:
    """Each event counts once, however often it is there; events of other runs do not count."""
    hosts = {
        "both": ["eqiad", "codfw"],
        "twice": ["codfw", "codfw", "codfw"],
        "once": ["eqiad"],
        "other": ["eqiad"] * 2,
    }
    answers = [answer("both", 1.0), answer("twice", 1.0), answer("once", 1.0)]
    assert counted(answers, hosts).doubled == 2


def test_traffic_is_back_after_the_last_event_that_went_elsewhere() -> None:
    """The time runs from the end of the fault to the last event that went elsewhere."""
    hosts = {"early": ["codfw"], "away": ["codfw"], "home": ["eqiad"], "both": ["codfw", "eqiad"]}
    answers = [answer("early", 5.9), answer("away", 7.5), answer("home", 8.0), answer("both", 9.0)]
    assert counted(answers, hosts).back_after == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("sent", "stray"),
    [
        pytest.param(1.0, 1, id="before the fault"),
        pytest.param(1.999, 0, id="answered during it"),
        pytest.param(4.0, 0, id="during it"),
        pytest.param(6.9, 0, id="within the grace after it"),
        pytest.param(7.1, 1, id="later"),
    ],
)
def test_a_failure_is_stray_while_a_datacenter_can_be_reached(sent: float, stray: int) -> None:
    """Events may be refused only while no datacenter can be reached, and for a moment after."""
    assert counted([answer("x", sent, status=503)], {}, grace=1.0).stray_failures == stray


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"lost": 1}, "answered 2xx and lost: 1, not 0", id="lost"),
        pytest.param({"worst_ms": 300.6}, "slowest answer in ms: 300.6, not at most 300", id="worst"),
        pytest.param({"slow": 2}, "answers over 250 ms: 2, not at most 1", id="slow"),
        pytest.param({"doubled": 1}, "arrived twice: 1, not 0", id="doubled"),
        pytest.param({"failures": {"503 failed": 2}}, "not 2xx (2 x 503 failed): 2, not 0", id="not 2xx"),
        pytest.param({"back_after": None}, "back at the preferred datacenter never, not within 15 s", id="never back"),
        pytest.param({"exit_status": -9}, "after SIGTERM it exited with status -9", id="killed"),
        pytest.param(
            {"hosts": {"eqiad": 9}},
            "no event went elsewhere, so the fault had no effect and the run proves nothing",
            id="no fault",
        ),
        pytest.param({}, None, id="all held"),
    ],
)
def test_a_bar_that_is_not_held_is_named_with_its_value(changes: dict[str, object], words: str | None) -> None:
    """The failure message has the promise and the measured value."""
    well = counted([answer("a", 1.0), answer("b", 3.0)], {"a": ["eqiad"], "b": ["codfw"]})
    measured = dataclasses.replace(well, **changes)  # type: ignore[arg-type]
    assert misses(FRAME, measured) == ([words] if words else [])


def test_a_refusal_must_be_quick_and_have_retry_after() -> None:
    """If no datacenter can be reached, a 500 is wrong, and so is a 503 after three seconds."""
    answers = [answer("a", 3.0, took=3.0, status=503), answer("b", 3.0, status=500)]
    scenario = dataclasses.replace(FRAME, bars=Bars(outage=Outage()), leaves=False)
    assert misses(scenario, counted(answers, {}, grace=3.0)) == [
        "neither 2xx nor a 503 with Retry-After (1 x 503, 1 x 500): 1, not 0",
        "seconds until the slowest refusal: 3, not at most 2",
    ]


def test_the_document_has_a_line_for_every_scenario_and_marks_what_was_not_held() -> None:
    """The table hides no miss."""
    well = counted([answer("a", 1.0)], {"a": ["codfw"]})
    text = report.in_markdown([(FRAME, well), (FRAME, dataclasses.replace(well, lost=3))])
    lines = [line for line in text.splitlines() if line.startswith(f"| {FRAME.title}")]
    assert ["not held" in line for line in lines] == [False, True]
