"""Running tests against a change, in a copy of the tree."""

from __future__ import annotations

from pathlib import Path
from time import monotonic  # noqa: TID251 - trials take real time

import pytest

from tests.mutants.modules import ROOT
from tests.mutants.trial import Ended, Trial, run

FILE = Path("sidecar/timers.py")
TESTS = (Path("tests/test_timers.py"),)


def ended(folder: Path, *sources: str, limit: float = 60.0) -> dict[str, Ended]:
    """Try each source in place of the file."""
    trials = [Trial(FILE, source, TESTS, limit) for source in sources]
    return {trial.source: end for trial, end in run(trials, folder, 2, monotonic)}


def test_a_change_that_no_test_notices_survives_and_others_do_not(tmp_path: Path) -> None:
    """Each trial's tests see its own changed source; the tree itself is not changed."""
    before = (ROOT / FILE).read_text()
    found = ended(tmp_path, before, "raise SystemError('changed')\n")
    assert [found[source].survived for source in (before, "raise SystemError('changed')\n")] == [True, False]
    assert "changed" in found["raise SystemError('changed')\n"].output
    assert (ROOT / FILE).read_text() == before


def test_a_change_that_never_ends_is_ended(tmp_path: Path) -> None:
    """A change whose tests run out of time counts as noticed."""
    endless = "while True:\n    pass\n"
    assert ended(tmp_path, endless, limit=1.0)[endless].status is None


@pytest.mark.parametrize("sources", [1, 3])
def test_every_trial_has_a_result(tmp_path: Path, sources: int) -> None:
    """If there are more trials than copies of the tree, they take turns."""
    assert len(ended(tmp_path, *(f"raise SystemError({number})\n" for number in range(sources)))) == sources
