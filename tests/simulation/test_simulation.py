"""The simulator, and the bugs it has found. Each simulation is a separate process, since it replaces the clocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

import pytest

from tests.simulation.plan import Plan
from tests.simulation.recall import ROOT, Fault, all_faults
from tests.simulation.recorded import Recorded, all_recorded
from tests.simulation.shrink import shrink
from tests.simulation.troubles import TROUBLES, plan_of

SECONDS = 240


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m tests.simulation`; the caller's hash seed must not matter."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )


@cache
def verdicts() -> dict[str, dict[str, object]]:
    """Try all recorded plans, once."""
    lines = simulate("--recorded", "all").stdout.splitlines()
    return {each["name"]: each for each in map(json.loads, lines)}


@pytest.mark.parametrize("recorded", all_recorded(), ids=lambda each: each.name)
def test_recorded_plans_keep_their_promises(recorded: Recorded) -> None:
    """A recorded plan keeps its promise; if its bug is not fixed yet, it must break it."""
    state = verdicts()[recorded.name]["state"]
    if not recorded.fixed and state == "broken":
        pytest.xfail(recorded.fault)
    assert state == "holds"


def test_a_seed_always_gives_the_same_story() -> None:
    """A seed determines everything: two processes print the same, byte for byte."""
    first, second = (simulate("--seed", "3", "--whole").stdout for _ in range(2))
    assert "digest" in first
    assert first == second


def test_a_seed_does_not_depend_on_earlier_seeds() -> None:
    """It gives the same story alone and after others in the same process."""
    alone = json.loads(simulate("--seeds", "5-5", "--digests").stdout.splitlines()[-1])
    among = [json.loads(line) for line in simulate("--seeds", "3-5", "--digests").stdout.splitlines()]
    assert among[-1] == alone


@pytest.mark.parametrize("trouble", ["gates", "doors", "names", "still"])
def test_common_faults_break_no_promise(trouble: str) -> None:
    """Failing EventGates, unreachable machines, wrong DNS, a paused process."""
    ended = simulate("--seeds", "1-8", "--trouble", trouble)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_each_kind_of_trouble_is_planned(trouble: str) -> None:
    """A plan with one kind of trouble has acts or a setup for it, the same each time."""
    plan = plan_of(11, (trouble,))
    assert plan.setup["troubles"] == [trouble]
    assert plan == plan_of(11, (trouble,))


@pytest.mark.parametrize("fault", all_faults(), ids=lambda each: each.name)
def test_each_bug_can_be_reintroduced(fault: Fault) -> None:
    """Each edit of `recall` fits the code in one place and gives valid Python; the nightly run tries them."""
    for change in fault.changes:
        compile(change.undone(ROOT), change.file, "exec")


def test_a_failing_plan_is_shrunk() -> None:
    """Acts that the failure does not need are left out; the others stay."""
    plan = Plan(1, {}, tuple({"at": float(at), "do": "post"} for at in range(40)))

    def fails(candidate: Plan) -> bool:
        return {7.0, 23.0} <= {act["at"] for act in candidate.acts}

    assert [act["at"] for act in shrink(plan, fails, 500).acts] == [7.0, 23.0]


def test_the_gateway_gets_the_events_of_deleted_pods() -> None:
    """Two worlds with a gateway keep every promise: outages, deletions with the disk, kills of the gateway."""
    ended = simulate("--trouble", "hops", "--seeds", "3-4")
    assert ended.returncode == 0, ended.stdout
