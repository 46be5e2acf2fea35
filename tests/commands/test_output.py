"""Output to closed readers, full disks and closed files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.commands.cli import NOT_READ
from tests.commands.conftest import ROUTES

EVENT = '{"meta": {"stream": "score"}}'
ENTRANCE = [sys.executable, "-m", "sidecar"]
STATUSES = {
    ("check", "routes.yaml"): 0,
    ("diff", "routes.yaml", "routes.yaml"): 0,
    ("explain", "--label", "env=staging", "--event", "event.json", "--json"): 0,
    ("explain", "--label", "env=production", "--event", "event.json"): 1,
    ("schema",): 0,
    ("streams", "routes.yaml"): 0,
    ("check", "--help"): 0,
    ("--version",): 0,
}
"""Commands and their exit statuses."""

each_command = pytest.mark.parametrize("words", STATUSES, ids=" ".join)
each_buffering = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files that the commands name."""
    (tmp_path / "routes.yaml").write_text(ROUTES)
    (tmp_path / "event.json").write_text(EVENT)
    return tmp_path


def run(
    words: tuple[str, ...],
    folder: Path,
    out: int = subprocess.PIPE,
    before: Callable[[], None] | None = None,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command as a process; `before` is called in it first."""
    return subprocess.run(
        [*ENTRANCE, *words],
        cwd=folder,
        stdout=out,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=before,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent.parent.parent), **env},
    )


@each_buffering
@each_command
def test_a_reader_that_leaves_ends_a_command_quietly(words: tuple[str, ...], unbuffered: str, folder: Path) -> None:
    """`| head -1` causes no traceback, and a status that differs from a command's own."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(words, folder, writer, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (NOT_READ, "")


@each_buffering
@each_command
def test_output_to_a_full_disk_is_an_error(words: tuple[str, ...], unbuffered: str, folder: Path) -> None:
    """Incomplete output is never taken for complete."""
    with Path("/dev/full").open("wb") as full:
        done = run(words, folder, full.fileno(), PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (
        2,
        "eventgate-sidecar: cannot write to standard output: No space left on device\n",
    )


@pytest.mark.parametrize("descriptor", [0, 1, 2])
@each_command
def test_a_closed_standard_file_does_not_change_the_status(
    words: tuple[str, ...], descriptor: int, folder: Path
) -> None:
    """Output to it is dropped."""
    done = run(words, folder, before=lambda: os.close(descriptor))
    assert (done.returncode, done.stderr) == (STATUSES[words], "")
    assert bool(done.stdout) == (descriptor != 1)


def test_a_closed_standard_input_is_empty(folder: Path) -> None:
    """There is no event in it."""
    done = run(("explain", "--event", "-"), folder, before=lambda: os.close(0))
    assert done.returncode == 2
    assert done.stderr.startswith("eventgate-sidecar: ")
