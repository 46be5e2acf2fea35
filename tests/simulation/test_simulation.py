"""The simulator itself, and what it has found: each simulation is a process of its own, since it moves the clocks."""

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
    """Run `python -m tests.simulation`; a hash seed of the caller's must not matter."""
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
def test_what_was_found_once_is_not_found_again(recorded: Recorded) -> None:
    """A recorded plan holds its promise; one whose fault is not fixed yet is expected to break it."""
    state = verdicts()[recorded.name]["state"]
    if not recorded.fixed and state == "broken":
        pytest.xfail(recorded.fault)
    assert state == "holds"


def test_the_same_seed_is_the_same_story() -> None:
    """A seed decides everything: two processes tell the same, byte for byte."""
    first, second = (simulate("--seed", "3", "--whole").stdout for _ in range(2))
    assert "digest" in first
    assert first == second


def test_a_seed_is_the_same_alone_and_among_others() -> None:
    """What was simulated before in the same process changes nothing."""
    alone = json.loads(simulate("--seeds", "5-5", "--digests").stdout.splitlines()[-1])
    among = [json.loads(line) for line in simulate("--seeds", "3-5", "--digests").stdout.splitlines()]
    assert among[-1] == alone


@pytest.mark.parametrize("trouble", ["gates", "doors", "names", "still"])
def test_common_faults_break_no_promise(trouble: str) -> None:
    """EventGates that fail in any way, machines that are gone, DNS that is wrong, a process that stands still."""
    ended = simulate("--seeds", "1-8", "--trouble", trouble)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_each_kind_of_trouble_is_planned(trouble: str) -> None:
    """A plan that is to have one kind of trouble has acts or a setup for it, and the same each time."""
    plan = plan_of(11, (trouble,))
    assert plan.setup["troubles"] == [trouble]
    assert plan == plan_of(11, (trouble,))


@pytest.mark.parametrize("fault", all_faults(), ids=lambda each: each.name)
def test_each_fault_can_be_put_back(fault: Fault) -> None:
    """What `recall` puts back is in the code once, and Python when it is back; trying it is left to the night."""
    for change in fault.changes:
        compile(change.undone(ROOT), change.file, "exec")


def test_a_failing_plan_becomes_smaller() -> None:
    """What is not needed for a failure is left out of its plan, and what is needed stays."""
    plan = Plan(1, {}, tuple({"at": float(at), "do": "post"} for at in range(40)))

    def fails(candidate: Plan) -> bool:
        return {7.0, 23.0} <= {act["at"] for act in candidate.acts}

    assert [act["at"] for act in shrink(plan, fails, 500).acts] == [7.0, 23.0]


def test_what_pods_held_that_are_deleted_is_on_the_gateway() -> None:
    """Two worlds with a gateway hold every promise: outages, deletions with the disk, kills of the gateway."""
    ended = simulate("--trouble", "hops", "--seeds", "3-4")
    assert ended.returncode == 0, ended.stdout
