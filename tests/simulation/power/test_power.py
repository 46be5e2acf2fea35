"""Power losses: the disk that they are taken from, what is recorded, and that the real spool survives them."""

from __future__ import annotations

import functools
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulation.power.disk import (
    ALL,
    FOLDER,
    NOTHING,
    Create,
    Disk,
    Kept,
    Mark,
    Op,
    Remove,
    Rename,
    Resize,
    Sync,
    SyncNames,
    Write,
    fates,
)
from tests.simulation.power.history import HISTORIES, record
from tests.simulation.power.judge import Found, Promised
from tests.simulation.power.load import event, name_of
from tests.simulation.power.states import Tally, failures, moments
from tests.simulation.power.trace import Recorder, why_not

STATES = 60
"""Of each history; `python -m tests.simulation.power` looks at as many as one likes."""

traced = pytest.mark.skipif(bool(why_not()), reason=f"POWER LOSSES ARE NOT TRIED: {why_not()}")


def disk_after(*ops: Op) -> Disk:
    """Return a disk to which this was done."""
    disk = Disk()
    for op in ops:
        disk.do(op)
    return disk


NEW_FILE = (Create("f", 0), Write(0, 0, b"old"), Sync(0), SyncNames(""))


# --- the disk ---


@pytest.mark.parametrize(
    ("ops", "kept", "state"),
    [
        (NEW_FILE, [], {"f": b"old"}),
        ([*NEW_FILE, Write(0, 0, b"new")], [ALL], {"f": b"new"}),
        ([*NEW_FILE, Write(0, 0, b"new")], [NOTHING], {"f": b"old"}),
        ([*NEW_FILE, Write(0, 2, b"new")], [Kept(0.0, extended=True)], {"f": b"old\0\0"}),
        ([*NEW_FILE, Write(0, 3, b"a"), Write(0, 4, b"b")], [NOTHING, ALL], {"f": b"old\0b"}),
        ([*NEW_FILE, Resize(0, 1)], [ALL], {"f": b"o"}),
        ([*NEW_FILE, Resize(0, 1)], [NOTHING], {"f": b"old"}),
        ([*NEW_FILE, Remove("f")], [ALL], {}),
        ([*NEW_FILE, Rename("f", "g", 0)], [ALL], {"g": b"old"}),
        ([*NEW_FILE, Rename("f", "g", 0)], [NOTHING], {"f": b"old"}),
        ([*NEW_FILE, Rename("f", "g", 0), SyncNames("")], [], {"g": b"old"}),
        ([Create("f", 0), Write(0, 0, b"old"), Sync(0)], [NOTHING], {}),
        ([Create("d", FOLDER), Create("d/f", 0), SyncNames("d")], [NOTHING], {}),
        ([Create("d", FOLDER), Create("d/f", 0), SyncNames("d")], [ALL], {"d": None, "d/f": b""}),
    ],
)
def test_what_is_not_synced_may_be_lost(ops: list[Op], kept: list[Kept], state: dict[str, bytes | None]) -> None:
    """Each write, each name; what was synced stays, a name only with its directory."""
    assert disk_after(*ops).after_power_loss(kept) == state


def test_a_write_is_torn_between_sectors() -> None:
    """Those that were written are there, the others as before; no byte beside it changes."""
    disk = disk_after(Create("f", 0), Write(0, 0, b"o" * 2048), Sync(0), SyncNames(""), Write(0, 100, b"n" * 1000))
    (found,) = disk.after_power_loss([Kept(0.5, frozenset({1}))]).values()
    assert found == b"o" * 512 + b"n" * 512 + b"o" * 1024


def test_every_fate_is_met() -> None:
    """All kept, all lost, torn, made longer by zeros, and any mixture."""
    unsynced = [Write(0, at * 1024, b"x" * 1024) for at in range(8)]
    met = [fates(unsynced, random.Random(seed)) for seed in range(300)]
    assert {frozenset({ALL}), frozenset({NOTHING})} <= {frozenset(each) for each in met}
    flat = [fate for each in met for fate in each]
    assert any(0 < fate.share < 1 for fate in flat)
    assert any(fate.extended for fate in flat)
    assert all(len(each) == len(unsynced) for each in met)


@pytest.mark.parametrize("op", [Write(0, 0, b""), Write(0, 0, b"x"), Resize(0, 9), Remove("f")])
def test_what_has_no_sectors_to_tear_is_kept_or_lost(op: Write | Resize | Remove) -> None:
    """Less than two of them, a size, a name."""
    assert {fates([op], random.Random(seed))[0].share for seed in range(300)} == {0.0, 1.0}


def test_the_power_goes_where_something_is_at_stake() -> None:
    """After each promise and around each sync more often than in the middle of many writes."""
    ops: list[Op] = [*(Write(0, at, b"x") for at in range(1000)), Sync(0), Mark("stored", ("a",))]
    found = moments(ops, 200, random.Random(1))
    assert found == sorted(found)
    assert sum(at >= 1000 for at in found) > 50


# --- what is recorded ---


@traced
def test_what_a_process_does_to_files_is_recorded(tmp_path: Path) -> None:
    """Contents, names, syncs and marks, in order; the recorder checks that they explain the files."""
    recorder = Recorder(tmp_path / "folder")
    recorder.folder.mkdir()
    program = f"""
import os, shutil
os.chdir({str(recorder.folder)!r})
folder = os.getcwd()
file = os.open(folder + "/a", os.O_RDWR | os.O_CREAT)
os.write(file, b"one"); os.pwrite(file, b"two", 5); os.fsync(file); os.ftruncate(file, 7)
open({str(recorder.marks)!r}, "a").write("stored x y\\n")
os.rename(folder + "/a", folder + "/b")
names = os.open(folder, os.O_RDONLY); os.fsync(names)
shutil.copyfile(folder + "/b", folder + "/c"); os.unlink(folder + "/b")
open(folder + "/c", "ab").write(b"!")
"""
    assert recorder.run([sys.executable, "-c", program]) == 0
    assert [each for each in recorder.ops if not isinstance(each, Write)] == [
        Create("a", 0), Sync(0), Resize(0, 7), Mark("stored", ("x", "y")), Rename("a", "b", 0), SyncNames(""),
        Create("c", 1), Remove("b"),
    ]  # fmt: skip
    assert bytes(recorder.contents[1]) == b"one\0\0tw!"


# --- what is promised ---


def found(*bodies: bytes, trouble: str = "") -> Found:
    """Return what a spool holds."""
    return Found(bodies, (), trouble, "")


@pytest.mark.parametrize(
    ("marks", "there", "problem"),
    [
        ([], [], None),
        ([("stored", "a")], ["a"], None),
        ([("stored", "a")], [], "lost after they were acknowledged: a"),
        ([("stored", "a"), ("sending", "a")], [], None),
        ([("stored", "a"), ("sending", "a")], ["a"], None),
        ([("stored", "a"), ("stored", "b"), ("only", "b")], ["b"], None),
        ([], ["never acknowledged"], None),
    ],
)
def test_an_acknowledged_event_has_to_be_there(
    marks: list[tuple[str, str]], there: list[str], problem: str | None
) -> None:
    """Until EventGate has it; from then on it may be there again, and is sent twice at worst."""
    promised = Promised()
    for kind, name in marks:
        promised.note(Mark(kind, (name,)))
    problems = found(*(event(name, 10, 1).body for name in there)).broken(promised)
    assert [each for each in problems if problem is None or problem not in each] == []
    assert bool(problems) is (problem is not None)


def test_a_spool_that_cannot_be_used_breaks_the_promise() -> None:
    """So do bytes that no event had."""
    assert found(trouble="out").broken(Promised()) == ["the spool cannot be used: out"]
    assert found(b"garbage").broken(Promised()) == ["no event ever had these bytes: [b'garbage']"]


@pytest.mark.parametrize("size", [0, 1, 3_000])
def test_an_event_is_known_by_its_bytes(size: int) -> None:
    """By all of them."""
    body = event("1.7", size, 1).body
    assert name_of(body) == "1.7"
    assert name_of(body.replace(b"meta", b"mate")) is None
    assert name_of(body[:-1] + b"?") is None


# --- the spool ---


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Op]]:
    """Record each history once."""
    return functools.cache(lambda kind: record(kind, "1", tmp_path_factory.mktemp(kind) / "recorded"))


@traced
@pytest.mark.parametrize("kind", HISTORIES)
def test_every_acknowledged_event_survives_a_power_loss(
    tmp_path: Path, recordings: Callable[[str], list[Op]], kind: str
) -> None:
    """In every state the files may be left in, the real spool opens and has it; see the package for the histories."""
    tally = Tally()
    broken = list(failures(f"{kind}-1", recordings(kind), STATES, tmp_path, tally))
    assert tally.states == STATES
    assert not broken, broken[0].story


@traced
@pytest.mark.parametrize("lost", [Sync, SyncNames])
def test_a_spool_that_would_not_sync_is_found_out(
    tmp_path: Path, recordings: Callable[[str], list[Op]], lost: type[Op]
) -> None:
    """The same life without its fsyncs loses events, and a story says which, and what the power loss left."""
    ops = [op for op in recordings("well") if not isinstance(op, lost)]
    broken = next(failures("well-1", ops, 2 * STATES, tmp_path, Tally()))
    assert re.search(r"lost after they were acknowledged: 0\.\d", broken.story)
    assert "*** the power goes; of what was not synced:" in broken.story
