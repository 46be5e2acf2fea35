"""Whether the lab can be built here, and if not, why."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import subprocess

PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "openssl": "openssl",
    "setpriv": "util-linux",
}
"""Each command, and the Debian package that has it."""
INSTALL_SECONDS = 180
NETEM = ("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")


@functools.cache
def missing() -> str | None:
    """Return in one sentence what is missing; None if the lab can run. Installs Debian packages if it may."""
    if os.geteuid() != 0:
        return "network namespaces take root, and this is not root"
    return _tools() or _namespaces()


@functools.cache
def has_netem() -> bool:
    """Whether this kernel can delay packets."""
    name = f"egwtry{os.getpid()}-{secrets.token_hex(2)}"
    _run("ip", "netns", "add", name)
    try:
        return _run("ip", "netns", "exec", name, *NETEM) is None
    finally:
        _run("ip", "netns", "del", name)


def _tools() -> str | None:
    absent = [command for command in PACKAGES if shutil.which(command) is None]
    if not absent:
        return None
    packages = " ".join(sorted({PACKAGES[command] for command in absent}))
    if shutil.which("apt-get") is None:
        return f"{', '.join(absent)} not found, and there is no apt-get to install {packages} with"
    install = ("apt-get", "install", "-y", "--no-install-recommends", *packages.split())
    if (why := _run(*install)) and (_run("apt-get", "update") or (why := _run(*install))):
        return f"{', '.join(absent)} not found, and apt-get install {packages} failed: {why}"
    return None


def _namespaces() -> str | None:
    """Try what the lab needs: a namespace, a bridge with a veth pair, a rule that drops packets."""
    name = f"egwtry{os.getpid()}-{secrets.token_hex(2)}"
    rules = "add table bridge t; add chain bridge t c { type filter hook forward priority 0; };"
    rules += 'add rule bridge t c iifname "end2" ether type ip numgen random mod 100 < 30 drop'
    steps = (
        ("ip", "netns", "add", name),
        ("ip", "-n", name, "link", "add", "name", "end1", "type", "veth", "peer", "name", "end2"),
        ("ip", "-n", name, "link", "add", "name", "br0", "type", "bridge"),
        ("ip", "netns", "exec", name, "nft", rules),
    )
    try:
        for step in steps:
            if why := _run(*step):
                return f"{' '.join(step[:5])} … failed: {why}"
        return None
    finally:
        _run("ip", "netns", "del", name)


def _run(*command: str) -> str | None:
    """Run a command; return its last line of output if it failed, else None."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    words = (done.stderr or done.stdout).strip().splitlines()
    return words[0] if words else f"exit status {done.returncode}"
