"""Promises of `reload`: good edits are applied, bad ones are reported, and a restart survives both."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from sidecar.errors import ConfigError, SettingError
from sidecar.routes.language.config import Config
from sidecar.serve.reload import TURN_SECONDS, Loaded, Polling, Reloader, begin, keep
from sidecar.telemetry.happenings import ConfigNotKept, ConfigRefused, Unexpected
from tests.fakes import eventually
from tests.routes.language.test_loader import SMALL
from tests.scripted import Recorder

OTHER = SMALL.replace("everything", "all")
BROKEN = SMALL.replace("to: production", "to: prodcution")
FAILING = f"{SMALL}tests:\n  - {{name: t, event: {{meta: {{stream: a}}}}, expect: {{refused: true}}}}\n"
QUICK = Polling(0.01, 0.01)
NEVER = Polling(3600.0, 0.01)


def first_route(config: Config) -> str:
    """Return the name of the first route; stands for building a configuration."""
    return config.routes[0].name


class Watched:
    """A watched file, and the configurations applied."""

    def __init__(self, folder: Path, polling: Polling) -> None:
        """The file is right to begin with."""
        self.path = folder / "routes.yaml"
        self.path.write_text(SMALL)
        self.last_good = folder / "state" / "last-good.yaml"
        self.recorder = Recorder()
        self.applied: list[str] = []
        self.troubles: list[Exception] = []
        """What the next applications meet."""
        beginning, _ = begin(self.path, self.last_good, {}, first_route)
        self.reloader = Reloader(self.path, self.last_good, {}, beginning, self._apply, self.recorder, polling)

    async def _apply(self, loaded: Loaded) -> None:
        if self.troubles:
            raise self.troubles.pop()
        self.applied.append(loaded.config.routes[0].name)

    @property
    def refused(self) -> list[ConfigRefused]:
        """Return all reported refusals."""
        return self.recorder.all_of(ConfigRefused)


@contextlib.asynccontextmanager
async def watched(folder: Path, polling: Polling = QUICK) -> AsyncIterator[Watched]:
    """Watch a file until the block is left."""
    watching = Watched(folder, polling)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watching.reloader.run())
        await eventually(watching.last_good.exists)
        yield watching
        task.cancel()


# --- what is taken ---


class Asked(Mapping[str, str]):
    """No labels; notes how long a turn of the interpreter is whenever they are asked for."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.turns: list[float] = []
        self.collects: list[bool] = []

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[str]:
        self.turns.append(sys.getswitchinterval())
        self.collects.append(gc.isenabled())
        return iter(())


async def test_events_go_on_while_a_file_is_checked(tmp_path: Path) -> None:
    """The thread that checks it takes short turns and starts no garbage collection, and only for so long."""
    watching = Watched(tmp_path, NEVER)
    usual, labels = sys.getswitchinterval(), Asked()
    watching.reloader._labels = labels
    await watching.reloader._reload(settled=True)
    assert (watching.applied, set(labels.turns)) == (["everything"], {TURN_SECONDS})
    assert (sys.getswitchinterval(), set(labels.collects), gc.isenabled()) == (usual, {False}, True)


async def test_an_edit_is_applied_and_saved(tmp_path: Path) -> None:
    """Soon after it was written, for the next start."""
    async with watched(tmp_path) as file:
        assert file.last_good.read_text() == SMALL
        file.path.write_text(OTHER)
        await eventually(lambda: file.applied == ["all"])
        await eventually(lambda: file.last_good.read_text() == OTHER)
        assert file.reloader.in_force.text == OTHER


async def test_a_link_that_moves_is_an_edit(tmp_path: Path) -> None:
    """Kubernetes changes a ConfigMap so: the file is a link into a directory that is a link itself."""
    for name, text in (("one", SMALL), ("two", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "routes.yaml").write_text(text)
    async with watched(tmp_path) as file:
        file.path.unlink()
        (tmp_path / "..data").symlink_to("one")
        file.path.symlink_to("..data/routes.yaml")
        (tmp_path / "..data_tmp").symlink_to("two")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await eventually(lambda: file.applied == ["all"])


async def test_an_unchanged_file_is_not_applied_again(tmp_path: Path) -> None:
    """Not even if it was rewritten with the same text."""
    async with watched(tmp_path) as file:
        file.path.write_text(SMALL)
        file.path.touch()
        file.path.write_text(OTHER)
        await eventually(lambda: len(file.applied) == 1)
        assert file.applied == ["all"]
        for _ in range(20):  # looks
            await asyncio.sleep(QUICK.interval)
        assert file.applied == ["all"]


async def test_sighup_loads_at_once(tmp_path: Path) -> None:
    """Without waiting for the next poll, even if the file is unchanged."""
    async with watched(tmp_path, NEVER) as file:
        file.path.write_text(OTHER)
        file.reloader.now()
        await eventually(lambda: file.applied == ["all"])
        file.reloader.now()
        await eventually(lambda: file.applied == ["all", "all"])


# --- what is not ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BROKEN, "did you mean 'production'?"),
        (FAILING, "tests[0].expect.refused fails: expected true, got false"),
        (f"{SMALL}  - {{name: late, to: production}}\n", "is never reached"),
        ("", "is empty"),
    ],
    ids=["broken", "a test fails", "a mistake", "empty"],
)
async def test_a_bad_file_changes_nothing_and_is_reported(tmp_path: Path, text: str, words: str) -> None:
    """Once, as `check` shows it; the configuration in force and the saved one stay."""
    async with watched(tmp_path) as file:
        file.path.write_text(text)
        await eventually(lambda: file.refused != [])
        assert words in file.refused[0].text
        assert file.reloader.refusal is not None
        assert words in file.reloader.as_data()["refused"]
        file.path.write_text(OTHER)
        await eventually(lambda: file.reloader.refusal is None)
        await eventually(lambda: file.last_good.read_text() == OTHER)
        assert (file.applied, len(file.refused)) == (["all"], 1)


async def test_a_missing_file_changes_nothing(tmp_path: Path) -> None:
    """It is loaded when it comes back."""
    async with watched(tmp_path) as file:
        file.path.unlink()
        await eventually(lambda: file.refused != [])
        assert file.refused[0].text == f"cannot read {file.path}: No such file or directory"
        file.path.write_text(OTHER)
        await eventually(lambda: file.applied == ["all"])


async def test_a_configuration_that_cannot_be_applied_is_refused(tmp_path: Path) -> None:
    """For example because its CA file is missing."""
    async with watched(tmp_path) as file:
        file.troubles = [SettingError("tls.ca_file cannot be read")]
        file.path.write_text(OTHER)
        await eventually(lambda: file.refused != [])
        assert (file.refused[0].problems, file.refused[0].text) == (1, "tls.ca_file cannot be read")
        assert file.reloader.in_force.text == SMALL


async def test_a_bug_does_not_end_the_watch(tmp_path: Path) -> None:
    """It is reported, and the next edit is applied."""
    async with watched(tmp_path) as file:
        file.troubles = [KeyError("what")]
        file.path.write_text(OTHER)
        await eventually(lambda: file.recorder.all_of(Unexpected) != [])
        file.path.write_text(SMALL.replace("everything", "third"))
        await eventually(lambda: file.applied == ["third"])


@pytest.mark.parametrize("become", ["pipe", "folder", "huge"])
async def test_pipes_and_huge_files_are_refused_at_once(tmp_path: Path, become: str) -> None:
    """Nothing blocks, nothing is read of a huge file, and the next good file is applied."""
    async with watched(tmp_path) as file:
        file.path.unlink()
        match become:
            case "pipe":
                os.mkfifo(file.path)
            case "folder":
                file.path.mkdir()
            case _:
                with file.path.open("wb") as huge:
                    huge.truncate(150 << 20)
        await eventually(lambda: len(file.refused) == 1)
        file.path.rename(tmp_path / "away")
        file.path.write_text(OTHER)
        await eventually(lambda: file.applied == ["all"])


async def test_a_configuration_that_cannot_be_saved_is_applied(tmp_path: Path) -> None:
    """A full or read-only disk is reported."""
    async with watched(tmp_path) as file:
        file.last_good.unlink()
        file.last_good.mkdir()
        file.path.write_text(OTHER)
        await eventually(lambda: file.recorder.all_of(ConfigNotKept) != [])
        assert file.applied == ["all"]


# --- how it starts ---


def test_a_restart_with_a_broken_file_starts(tmp_path: Path) -> None:
    """With the last good one; the problems of the file are reported."""
    path, last_good = tmp_path / "routes.yaml", tmp_path / "last-good.yaml"
    path.write_text(BROKEN)
    keep(OTHER, last_good)
    beginning, built = begin(path, last_good, {}, first_route)
    assert built == "all"
    assert (beginning.loaded.file, beginning.loaded.text) == (str(last_good), OTHER)
    assert beginning.refusal is not None
    assert [problem.path for problem in beginning.refusal.problems] == ["routes[0].to"]
    path.unlink()
    assert begin(path, last_good, {}, first_route)[0].loaded.text == OTHER


@pytest.mark.parametrize(
    "trouble", [SettingError("tls.ca_file cannot be read"), UnicodeError("label too long")], ids=["foreseen", "a bug"]
)
def test_a_restart_with_a_file_that_cannot_be_applied_starts(tmp_path: Path, trouble: Exception) -> None:
    """What a running sidecar refuses does not prevent a start with the last good one."""
    path, last_good = tmp_path / "routes.yaml", tmp_path / "last-good.yaml"
    path.write_text(SMALL)
    keep(OTHER, last_good)

    def build(config: Config) -> str:
        if config.routes[0].name != "all":
            raise trouble
        return config.routes[0].name

    beginning, built = begin(path, last_good, {}, build)
    assert (beginning.loaded.text, built) == (OTHER, "all")
    assert beginning.refusal is not None
    assert str(trouble) in beginning.refusal.text
    with pytest.raises(type(trouble)):
        begin(path, None, {}, build)


@pytest.mark.parametrize("kept", [None, "", BROKEN], ids=["nothing is kept", "empty", "broken, too"])
def test_without_a_last_good_file_a_broken_one_is_refused(tmp_path: Path, kept: str | None) -> None:
    """The problems shown are those of the file that the operator edits."""
    path, last_good = tmp_path / "routes.yaml", tmp_path / "last-good.yaml"
    path.write_text(FAILING)
    if kept is not None:
        last_good.write_text(kept)
    with pytest.raises(ConfigError, match=r"expect\.refused fails"):
        begin(path, last_good, {}, first_route)
    with pytest.raises(ConfigError, match=r"expect\.refused fails"):
        begin(path, None, {}, first_route)


async def test_a_broken_file_at_the_start_is_reported_once_and_not_saved(tmp_path: Path) -> None:
    """The last good one stays until there is a better one."""
    path, last_good = tmp_path / "routes.yaml", tmp_path / "last-good.yaml"
    path.write_text(BROKEN)
    keep(SMALL, last_good)
    recorder, applied = Recorder(), []

    async def apply(loaded: Loaded) -> None:
        applied.append(loaded.text)

    beginning, _ = begin(path, last_good, {}, first_route)
    reloader = Reloader(path, last_good, {}, beginning, apply, recorder, QUICK)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reloader.run())
        await eventually(lambda: recorder.all_of(ConfigRefused) != [])
        path.write_text(OTHER)
        await eventually(lambda: applied == [OTHER])
        task.cancel()
    assert len(recorder.all_of(ConfigRefused)) == 1


def test_saving_is_atomic(tmp_path: Path) -> None:
    """There is the new text or the old one, and no temporary file."""
    last_good = tmp_path / "deep" / "last-good.yaml"
    keep(SMALL, last_good)
    keep(OTHER.replace("\n", "\r\n"), last_good)
    assert last_good.read_bytes().decode() == OTHER.replace("\n", "\r\n")
    with pytest.raises(UnicodeEncodeError):
        keep("\ud800", last_good)
    assert [each.name for each in last_good.parent.iterdir()] == ["last-good.yaml"]


def test_the_temporary_file_is_in_the_same_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is a volume, and a file cannot be renamed across file systems."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not here"))
    keep(SMALL, tmp_path / "last-good.yaml")
    assert (tmp_path / "last-good.yaml").read_text() == SMALL


def test_the_last_good_file_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power loss there is the old text or the new one, never an empty file."""
    last_good = tmp_path / "last-good.yaml"
    keep(SMALL, last_good)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_size, last_good.read_text())))
    keep(OTHER, last_good)
    assert synced == [(len(OTHER), SMALL)]
    assert last_good.read_text() == OTHER
