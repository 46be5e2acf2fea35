"""A memory limit that the kernel enforces, as that of a container: a cgroup of version 1 or 2 for one process."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
NAME = "eventgate-sidecar-test"


@dataclass(frozen=True)
class Cage:
    """A cgroup with a limit."""

    folder: Path

    @property
    def inside(self) -> Sequence[str]:
        """The command that becomes the one behind it, inside."""
        return ("sh", "-c", f'echo $$ >"{self.folder}/cgroup.procs" && exec "$@"', "sh")

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed in it."""
        words = [
            (self.folder / name).read_text()
            for name in ("memory.events", "memory.oom_control")
            if (self.folder / name).exists()
        ]
        found = re.search(r"^oom_kill (\d+)$", "\n".join(words), re.MULTILINE)
        assert found is not None
        return int(found[1])


@contextlib.contextmanager
def cage(size: int) -> Iterator[Cage | None]:
    """Make a cgroup whose processes may have `size` bytes and no swap; None where that is not allowed here."""
    second = (ROOT / "cgroup.controllers").exists()
    folder = (ROOT if second else ROOT / "memory") / f"{NAME}-{os.getpid()}"
    limits = {"memory.max": size, "memory.swap.max": 0} if second else {"memory.limit_in_bytes": size}
    try:
        folder.mkdir()
    except OSError:
        yield None
        return
    try:
        yield Cage(folder) if _limited(folder, limits) else None
    finally:
        folder.rmdir()


def _limited(folder: Path, limits: dict[str, int]) -> bool:
    """Set the limits; return whether the kernel took the first."""
    (first, size), *others = limits.items()
    try:
        (folder / first).write_text(f"{size}")
    except OSError:
        return False
    more = (folder / "memory.memsw.limit_in_bytes", size)  # version 1, where swap is accounted for
    for path, limit in [*((folder / name, limit) for name, limit in others), more]:
        with contextlib.suppress(OSError):
            if path.exists():
                path.write_text(f"{limit}")
    return True
