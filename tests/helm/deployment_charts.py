"""Whether the sidecar fits every service of Lift Wing: `python -m tests.helm.deployment_charts CHECKOUT`.

CHECKOUT is Wikimedia's deployment-charts with the edits of docs/liftwing.md, not committed yet. For each service, as
production and as staging: without the sidecar, everything has to render as at HEAD; with it, no rule may be broken.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.helm.engine import ROOT, Refused, Values, overlaid, rendered
from tests.helm.rules import problems

CHART = Path("charts/kserve-inference")
SERVICES = Path("helmfile.d/ml-services")
ENVIRONMENTS = ("ml-serve-eqiad", "ml-serve-codfw", "ml-staging-codfw")
GIT_SECONDS = 60


def main(arguments: list[str]) -> int:
    """Print a line for each service and environment; return 1 where one does not fit."""
    (checkout,) = map(Path, arguments)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before.tar"
        command = ["git", "-C", str(checkout), "archive", "--output", str(before), "HEAD", str(CHART)]
        subprocess.run(command, check=True, timeout=GIT_SECONDS)
        subprocess.run(["tar", "-x", "-C", folder, "-f", str(before)], check=True, timeout=GIT_SECONDS)
        for name, environment, values in services(checkout):
            found = list(misfits(values, Path(folder) / CHART, checkout / CHART, environment))
            sys.stdout.write(f"{'ok    ' if not found else 'BAD   '} {name} in {environment}\n")
            sys.stdout.writelines(f"       {each}\n" for each in found)
            bad += bool(found)
    return 1 if bad else 0


def services(checkout: Path) -> Iterator[tuple[str, str, Values]]:
    """Yield each service that uses the chart, an environment, and its values there."""
    for folder in sorted((checkout / SERVICES).iterdir()):
        helmfile = folder / "helmfile.yaml"
        if (
            folder.name.startswith("_")
            or not helmfile.exists()
            or "wmf-stable/kserve-inference" not in helmfile.read_text()
        ):
            continue
        for environment in ENVIRONMENTS:
            values: Values = {}
            for name in ("values.yaml", f"values-{environment}.yaml"):
                if (folder / name).exists():
                    values = overlaid(values, yaml.safe_load((folder / name).read_text()) or {})
            yield folder.name, environment, values


def misfits(values: Values, before: Path, after: Path, environment: str) -> Iterator[str]:
    """Say what the edits changed without the sidecar, and what is wrong with it."""
    off = {"eventgate_sidecar": {"enabled": False}}
    try:
        if without_version(rendered(overlaid(values, off), after)) != without_version(rendered(values, before)):
            yield "without the sidecar it renders otherwise than at HEAD"
        release = rendered(overlaid(values, sidecar_in(environment)), after)
    except Refused as refused:
        yield from str(refused).splitlines()
        return
    yield from problems(release)
    if not any("eventgate-sidecar:" in str(each) for each in release):
        yield "no InferenceService has the sidecar"


def sidecar_in(environment: str) -> Values:
    """Return the values of the sidecar, all of it."""
    sidecar = {
        "enabled": True,
        "image": "docker-registry.discovery.wmnet/wikimedia/eventgate-sidecar",
        "version": "2026-09-01-101500-publish",
        "labels": {"env": "staging" if "staging" in environment else "production"},
        "spool": {"enabled": True},
        "routes": (ROOT / "routes.yaml").read_text(),
    }
    return {"eventgate_sidecar": sidecar}


def without_version(thing: Any) -> Any:
    """Return objects without the chart's version, which is in labels."""
    if isinstance(thing, dict):
        return {key: without_version(value) for key, value in thing.items() if key != "chart"}
    return [without_version(each) for each in thing] if isinstance(thing, list) else thing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
