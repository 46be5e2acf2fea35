"""podman and buildah with their own storage and network, so that the machine's are not changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# The limits are low enough for a container that runs CI. Soft and hard ones are the same, since podman 4.3
# swaps them for a pod's first container. runc also runs where cgroups of both versions are mounted, and crun does not.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=32768:32768"]
default_sysctls = []
cgroupns = "host"
[network]
network_backend = "netavark"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
COMMAND_SECONDS = 300.0


class PodmanError(Exception):
    """A command failed, so the result says nothing about the sidecar."""


@dataclass(frozen=True)
class Podman:
    """Runs commands in a network namespace, on a storage in a folder."""

    folder: Path
    netns: str

    def __call__(self, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        """Run a podman command; return its output.

        Raises:
            PodmanError: it failed; the message has its output.

        """
        return self.run(*self.command("podman", *arguments), stdin=stdin)

    def command(self, tool: str, *arguments: str) -> tuple[str, ...]:
        """Return the whole command line of podman or buildah."""
        storage = ("--root", str(self.folder / "storage"), "--runroot", f"/run/{self.netns}")
        return (*self.inside(), tool, *storage, *arguments)

    def inside(self) -> tuple[str, ...]:
        """Return the prefix that runs a command in the namespace; `ip netns exec` would hide cgroups from it."""
        return ("nsenter", f"--net=/run/netns/{self.netns}")

    def run(self, *command: str, stdin: IO[bytes] | None = None, cwd: Path | None = None) -> str:
        """Run any command in podman's environment; return its output."""
        done = subprocess.run(
            command, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False,
            env=self.environment, cwd=cwd,
        )  # fmt: skip
        if done.returncode != 0:
            words = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise PodmanError(f"{' '.join(command[:8])} … failed: {words[-2000:]}")
        return done.stdout.decode(errors="replace").strip()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        return {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf")}


@contextlib.contextmanager
def podman(folder: Path, addresses: tuple[str, ...]) -> Iterator[Podman]:
    """Create the storage, and a network namespace with these addresses; remove both at the end."""
    netns = f"egpod{os.getpid()}"
    tool = Podman(folder, netns)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    tool.run("ip", "netns", "add", netns)
    try:
        tool.run("ip", "-n", netns, "link", "set", "lo", "up")
        for address in addresses:
            tool.run("ip", "-n", netns, "address", "add", f"{address}/32", "dev", "lo")
        yield tool
    finally:
        for leftover in (("pod", "rm", "-fa", "-t", "0"), ("volume", "prune", "-f"), ("system", "reset", "-f")):
            with contextlib.suppress(PodmanError):
                tool(*leftover)
        subprocess.run(("umount", str(folder / "storage" / "overlay")), capture_output=True, check=False)
        tool.run("ip", "netns", "del", netns)
        shutil.rmtree(folder / "storage", ignore_errors=True)
        shutil.rmtree(f"/run/{netns}", ignore_errors=True)
