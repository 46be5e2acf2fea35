"""Whether a pod can run here, and if not, why. Debian packages are installed if that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

PACKAGES = {
    "podman": "podman",
    "buildah": "buildah",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "catatonit": "catatonit",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "openssl": "openssl",
}
"""Each command, and the Debian package that has it."""
LIBRARIES = ("netavark", "aardvark-dns", "uidmap")
"""Packages that podman also needs, but Debian only recommends."""
INSTALL_SECONDS = 300


def missing() -> str | None:
    """Return in one sentence what is missing; None if a pod can run."""
    if os.geteuid() != 0:
        return "a pod with limits and a network of its own takes root, and this is not root"
    return _tools() or _namespaces()


def _tools() -> str | None:
    absent = [command for command in PACKAGES if shutil.which(command) is None]
    if not absent:
        return None
    packages = sorted({PACKAGES[command] for command in absent} | set(LIBRARIES))
    if shutil.which("apt-get") is None:
        return f"{', '.join(absent)} not found, and there is no apt-get to install {' '.join(packages)} with"
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    if (why := _run(install)) and (_run(("apt-get", "update", "-qq")) or (why := _run(install))):
        return f"{', '.join(absent)} not found, and apt-get install {' '.join(packages)} failed: {why}"
    return None


def _namespaces() -> str | None:
    name = f"egtry{os.getpid()}"
    if why := _run(("ip", "netns", "add", name)):
        return f"no network namespace can be made: {why}"
    return _run(("ip", "netns", "del", name))


def _run(command: Sequence[str]) -> str | None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    words = (done.stderr or done.stdout).strip().splitlines()
    return None if done.returncode == 0 else (words[-1] if words else f"exit status {done.returncode}")
