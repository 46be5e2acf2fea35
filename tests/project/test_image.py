"""Both recipes of the image copy everything that the package includes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
PACKAGE = {"pyproject.toml", "README.md", "LICENSE", *WHEEL["packages"], *WHEEL["force-include"]}
BLUBBER: dict[str, Any] = yaml.safe_load((ROOT / ".pipeline" / "blubber.yaml").read_text())


@pytest.mark.parametrize("variant", ["build", "test"])
def test_blubber_copies_all_package_files(variant: str) -> None:
    """They are there when Wikimedia's pipeline builds it."""
    (builder,) = BLUBBER["variants"][variant]["builders"]
    given = {name.rstrip("/") for name in builder["custom"]["requirements"]}
    assert given >= PACKAGE
    assert [name for name in given if not (ROOT / name).exists()] == []


def test_the_dockerfile_copies_all_package_files() -> None:
    """Its context has only named files."""
    let_in = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert let_in >= PACKAGE


def test_gitlab_builds_variants_that_exist() -> None:
    """The pipeline runs the tests, and publishes the production variant."""
    jobs: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    built = {job["variables"]["BUILD_VARIANT"] for job in jobs.values() if isinstance(job, dict) and "extends" in job}
    assert built == {"test", "production"} <= set(BLUBBER["variants"])
