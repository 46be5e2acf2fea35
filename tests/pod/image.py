"""The image, built without a registry: its base is a fresh Debian, and its wheels are downloaded before."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.pod.podman import Podman

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "build" / "pod"
"""Kept between runs: the base as a tar file, and the wheels."""
BASE = "localhost/base:bookworm"
IMAGE = "localhost/eventgate-sidecar"
DEBIAN = "python3,python3-venv,ca-certificates"
TIMESTAMP = "1764547200"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_base(podman: Podman) -> None:
    """Import a minimal Debian with Python as an image."""
    archive = BUILD / "base.tar"
    if not archive.exists():
        folder = podman.folder / "rootfs"
        BUILD.mkdir(parents=True, exist_ok=True)
        podman.run("debootstrap", "--variant=minbase", f"--include={DEBIAN}", "bookworm", str(folder))
        left_out = ("--exclude=./var/cache/apt", "--exclude=./var/lib/apt/lists")
        part = archive.with_suffix(".part")
        podman.run("tar", "-C", str(folder), *left_out, "-cf", str(part), ".")
        podman.run("rm", "-rf", str(folder))
        part.rename(archive)
    podman("import", "--quiet", "--change", f"ENV PATH={PATH}", str(archive), BASE)


def fetch_wheels(podman: Podman) -> Path:
    """Download the packages that requirements.txt and requirements-build.txt pin; return the folder."""
    folder = BUILD / "wheels"
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:")
    for name in ("requirements.txt", "requirements-build.txt"):
        podman.run(
            sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "--requirement", name, cwd=ROOT
        )
    return folder


def build(podman: Podman, wheels: Path, tag: str) -> str:
    """Build the image without a network; return its id, which is the hash of its content."""
    command = podman.command(
        "buildah", "bud", "--quiet", "--no-cache", "--isolation", "chroot", "--pull-never", "--timestamp", TIMESTAMP,
        "--build-arg", f"BASE={BASE}", "--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/wheels",
        "--volume", f"{wheels}:/wheels:ro", "--tag", f"{IMAGE}:{tag}", str(ROOT),
    )  # fmt: skip
    podman.run("unshare", "--net", *command[len(podman.inside()) :])
    return podman("image", "inspect", "--format", "{{.Id}}", f"{IMAGE}:{tag}")


def size(podman: Podman, image: str) -> int:
    """Return the bytes of an image with all its layers."""
    return int(podman("image", "inspect", "--format", "{{.Size}}", image))
