"""Runs a module's own tests against a change, in a copy of the tree, several at a time.

Each trial is a fork of this process, which has imported the slow third-party modules but none of the project's. That
saves a second per trial. The copy has the changed source as a file, so processes that a test starts use it too.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import selectors
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.mutants.modules import ROOT

SLOW_IMPORTS = (
    "pytest", "_pytest.assertion.rewrite", "hypothesis", "hypothesis.strategies", "hypothesis.stateful", "looptime",
    "pytest_asyncio", "aiohttp", "click", "dns.asyncresolver", "ecs_logging", "h11", "httptools", "httpx", "jsonschema",
    "msgspec", "prometheus_client", "re2", "rich.console", "rich.table", "sqlite3", "starlette.applications",
    "starlette.routing", "uvicorn", "uvloop", "yaml",
)  # fmt: skip
NOT_COPIED = (".git", ".venv*", ".fuzz", ".hypothesis", ".tools", ".*_cache", "__pycache__")
PYTEST = (
    "-x", "-q", "-n0", "--tb=short", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--hypothesis-profile=mutants",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Tests to run with one file of the tree replaced: a path below the root, and its source."""

    file: Path
    source: str
    tests: tuple[Path, ...]
    limit: float
    """Seconds until the tests are ended."""


@dataclass(frozen=True)
class Ended:
    """Result of a trial: pytest's exit status or minus the signal, None if it ran out of time; and its output."""

    status: int | None
    seconds: float
    output: str

    @property
    def survived(self) -> bool:
        """Return whether all tests passed."""
        return self.status == 0


@dataclass
class _Slot:
    """A copy of the tree, and the trial in it."""

    folder: Path
    began: float = 0.0
    pid: int = 0
    handle: int = 0
    trial: Trial | None = None
    unchanged: bytes = b""

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self, trial: Trial, now: float) -> None:
        self.trial, self.began = trial, now
        self.unchanged = (self.tree / trial.file).read_bytes()
        (self.tree / trial.file).write_text(trial.source)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir()
        self.pid = os.fork()
        if self.pid == 0:
            _test(self, trial)
        self.handle = os.pidfd_open(self.pid)

    def end(self, now: float) -> Ended:
        """End the trial and all processes that its tests started, and restore the tree."""
        trial, overdue = self._trial(), now - self.began >= self._trial().limit
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.handle)
        (self.tree / trial.file).write_bytes(self.unchanged)
        self.trial = None
        output = self.log.read_text(errors="replace")
        return Ended(None if overdue and status < 0 else status, now - self.began, output)

    def left(self, now: float) -> float:
        return self.began + self._trial().limit - now

    def _trial(self) -> Trial:
        assert self.trial is not None
        return self.trial


def preload() -> None:
    """Import the modules that every trial needs."""
    for name in SLOW_IMPORTS:
        importlib.import_module(name)


def run(trials: Iterable[Trial], folder: Path, jobs: int, clock: Callable[[], float]) -> Iterator[tuple[Trial, Ended]]:
    """Run the trials, this many at a time, and yield each as it ends; the copies of the tree are in the folder."""
    slots = [_Slot(folder / str(number)) for number in range(jobs)]
    for slot in slots:
        if not slot.tree.exists():
            shutil.copytree(ROOT, slot.tree, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
    waiting, idle = iter(trials), list(slots)
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                while idle and (trial := next(waiting, None)) is not None:
                    slot = idle.pop()
                    slot.start(trial, clock())
                    selector.register(slot.handle, selectors.EVENT_READ, slot)
                busy = [slot for slot in slots if slot.trial]
                if not busy:
                    return
                ready = {key.data.pid for key, _ in selector.select(max(0.0, min(s.left(clock()) for s in busy)))}
                for slot in busy:
                    if slot.pid in ready or slot.left(clock()) <= 0:
                        trial = slot._trial()
                        selector.unregister(slot.handle)
                        ended = slot.end(clock())
                        idle.append(slot)
                        yield trial, ended
        finally:
            for slot in slots:
                if slot.trial:
                    slot.end(clock())


def _test(slot: _Slot, trial: Trial) -> NoReturn:
    """Run the tests in this process, which is a fork, and end it."""
    status = 99
    try:
        os.setsid()
        log = os.open(slot.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        sys.stdout = sys.stderr = os.fdopen(1, "w", closefd=False)
        os.chdir(slot.tree)
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(slot.tree), "TMPDIR": str(slot.folder / "tmp")}
        sys.dont_write_bytecode = True
        sys.path[:] = [str(slot.tree), *(path for path in sys.path if Path(path).resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] in {"sidecar", "tests"}]:
            del sys.modules[name]
        status = _pytest(slot, trial)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _pytest(slot: _Slot, trial: Trial) -> int:
    import pytest  # noqa: PLC0415 - `preload` did
    from hypothesis import Phase, settings  # noqa: PLC0415 - the same

    settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None, deadline=None)
    folder = slot.folder / "tmp" / "pytest"
    return int(pytest.main([*PYTEST, f"--rootdir={slot.tree}", f"--basetemp={folder}", *map(str, trial.tests)]))
