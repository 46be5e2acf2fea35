"""Applies an edited `routes.yaml` while events flow, or keeps the one in force.

The file is read every few seconds and compared by its digest, since a ConfigMap changes by a moved symbolic link, which
does not notify watchers of the file. Once it has stopped changing it is parsed and checked, and its tests are run, in a
thread, so that no event waits. Then it is applied. If anything is wrong with it, the configuration in force stays, and
log, metric and status say why. The last good file is kept on disk, for a restart while the current one is broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from sidecar.errors import ConfigError, Problem, SettingError
from sidecar.routes.file import read_bytes, read_text
from sidecar.routes.inspection import inspect
from sidecar.routes.language.config import Config
from sidecar.telemetry.contained import unexpected
from sidecar.telemetry.happenings import ConfigNotKept, ConfigRefused
from sidecar.telemetry.telemetry import Telemetry

TURN_SECONDS = 0.0005
"""How long the event loop waits for a thread that checks a file, each time it wants to run. An answer takes some turns:
with Python's usual 5 ms events take 50 ms while a large file is checked."""
MAX_LOOKS = 10
"""How often a file that keeps changing is read before it is loaded anyway."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that passed all checks, and its source."""

    config: Config
    text: str
    file: str

    @property
    def digest(self) -> str:
        """The first digits of its SHA-256."""
        return _digest(self.text)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file cannot be used."""

    file: str
    text: str
    """As shown by `check`."""
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, file: Path, error: Exception) -> Refusal:
        """Convert an error to a refusal of `file`."""
        if isinstance(error, SettingError | ConfigError):
            return cls(str(file), str(error), error.problems if isinstance(error, ConfigError) else ())
        return cls(str(file), f"cannot be put in force: {type(error).__name__}: {error}", ())

    def tell(self, telemetry: Telemetry) -> None:
        """Report it."""
        telemetry.emit(ConfigRefused(self.file, max(len(self.problems), 1), self.text))


@dataclass(frozen=True)
class Polling:
    """How often to read the file."""

    interval: float = 2.0
    """Seconds between two reads."""
    settle: float = 0.5
    """Seconds that a changed file must stay the same before it is loaded."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The configuration that a sidecar starts with."""

    loaded: Loaded
    refusal: Refusal | None
    """What is wrong with the file, if `loaded` is the last good one."""
    seen: str
    """The file's digest when it was read."""


def begin(
    path: Path, last_good: Path | None, labels: Mapping[str, str], build: Callable[[Config], T]
) -> tuple[Beginning, T]:
    """Load the file, or the last good one if that fails; return it and what `build` made of it.

    `build` refuses what a reload would refuse, such as a missing CA file.

    Raises:
        SettingError: the file cannot be read or used, and there is no last good one.
        ConfigError: it is wrong, and there is no last good one.

    """
    seen = _seen(path)  # first, so that a change in between is noticed at the next read
    try:
        loaded = _load(path, labels)
        return Beginning(loaded, None, seen), build(loaded.config)
    except Exception as error:
        if last_good is not None:
            with contextlib.suppress(SettingError, ConfigError):
                loaded = _load(last_good, labels)
                return Beginning(loaded, Refusal.of(path, error), seen), build(loaded.config)
        raise


def keep(text: str, last_good: Path) -> None:
    """Replace the file atomically: it has either the whole text or its old content.

    Raises:
        OSError: it cannot be written.

    """
    last_good.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=f".{last_good.name}.", dir=last_good.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(last_good)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Reloader:
    """Watches a file, and applies its changes."""

    def __init__(
        self,
        path: Path,
        last_good: Path | None,
        labels: Mapping[str, str],
        beginning: Beginning,
        apply: Callable[[Loaded], Awaitable[None]],
        telemetry: Telemetry,
        polling: Polling | None = None,
    ) -> None:
        """`apply` puts a configuration in force, or raises SettingError; `last_good` is where the last one is saved."""
        self._path = path
        self._last_good = last_good
        self._labels = labels
        self._apply = apply
        self._telemetry = telemetry
        self._polling = polling or Polling()
        self._now = asyncio.Event()
        self._seen = beginning.seen
        """The digest of the file last read, good or bad."""
        self.in_force = beginning.loaded
        self.since = time.time()
        """When it came into force, in Unix time."""
        self.refusal = beginning.refusal
        """What is wrong with the file on disk, if anything is."""

    def now(self) -> None:
        """Load the file now, even if it has not changed (SIGHUP)."""
        self._now.set()

    async def run(self) -> None:
        """Watch until cancelled; start it once the configuration is in force, since it saves the last good one."""
        if self.refusal is None:
            await self._keep()
        else:
            self.refusal.tell(self._telemetry)
        while True:
            asked = await self._asked_within(self._polling.interval)
            if asked or await asyncio.to_thread(_seen, self._path) != self._seen:
                try:
                    await self._reload(settled=asked)
                except Exception as error:  # noqa: BLE001  a bug must not end the configuration in force
                    self._telemetry.emit(unexpected("reload", error))

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._now.wait()
        except TimeoutError:
            return False
        self._now.clear()
        return True

    async def _reload(self, *, settled: bool) -> None:
        if not settled:
            await self._settle()
        self._seen = await asyncio.to_thread(_seen, self._path)  # first, as in `begin`
        try:
            with _short_turns():
                loaded = await asyncio.to_thread(_load, self._path, self._labels)
            await self._apply(loaded)
        except Exception as error:
            self.refusal = Refusal.of(self._path, error)
            self.refusal.tell(self._telemetry)
            if not isinstance(error, SettingError | ConfigError):
                raise
            return
        self.in_force, self.since, self.refusal = loaded, time.time(), None
        await self._keep()

    async def _settle(self) -> None:
        """Wait until the file has stopped changing, but not for ever."""
        last = ""
        for _ in range(MAX_LOOKS):
            now = await asyncio.to_thread(_seen, self._path)
            if now == last or await self._asked_within(self._polling.settle):
                return
            last = now

    async def _keep(self) -> None:
        if self._last_good is not None:
            try:
                await asyncio.to_thread(keep, self.in_force.text, self._last_good)
            except OSError as error:
                self._telemetry.emit(ConfigNotKept(str(self._last_good), error.strerror or str(error)))

    def as_data(self) -> dict[str, Any]:
        """Return the configuration in force, and what is wrong with the file."""
        return {
            "file": str(self._path),
            "in_force": self.in_force.file,
            "digest": self.in_force.digest,
            "since": self.since,
            "refused": self.refusal.text if self.refusal else None,
            "problems": [asdict(each) for each in self.refusal.problems] if self.refusal else [],
        }


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    """Let a thread that computes hand the interpreter over sooner, and never for the length of a garbage collection."""
    before, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(TURN_SECONDS)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        if collects:
            gc.enable()


def _load(path: Path, labels: Mapping[str, str]) -> Loaded:
    text = read_text(path)
    return Loaded(inspect(text, str(path), labels).approved, text, str(path))


def _seen(path: Path) -> str:
    """Return the digest of the file, or why it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except SettingError as error:
        return str(error)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
