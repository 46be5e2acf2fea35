"""The sidecar in a checkout of Wikimedia's deployment-charts; docs/liftwing.md says when to run what.

    python -m tests.helm.deployment_charts apply CHECKOUT [--image NAME:TAG]
    python -m tests.helm.deployment_charts check CHECKOUT [--before COMMIT]

`apply` makes the edits of step 2 and, given the image, those of step 3. It can be run again. `check` renders every
service in every cluster, at the commit before and after each step, and runs the tests of the shared routes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from sidecar.routes.inspection import inspect
from tests.helm.edits import Unknown
from tests.helm.engine import ROOT, Object, Refused, Values, overlaid, rendered
from tests.helm.release import isvcs, variable
from tests.helm.rules import problems
from tests.helm.series import (
    CHART,
    ENVIRONMENTS,
    SERVICES,
    SHARED,
    apply_chart,
    apply_values,
    shared_values,
    using_the_chart,
)
from tests.helm.services import values_of_service

GIT_SECONDS = 60
KUBERNETES = "1.31"
PAGE = ROOT / "docs" / "liftwing.md"
FIRST_STEP_OF_A_SERVICE = "\n## 4."


def main(arguments: list[str]) -> int:
    """Run a command; return 1 if something does not fit."""
    parser = argparse.ArgumentParser(prog="python -m tests.helm.deployment_charts")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("apply", "make the edits"), ("check", "render every service, before and after")):
        commands.add_parser(name, help=words).add_argument("checkout", type=Path)
    commands.choices["apply"].add_argument("--image", type=name_and_tag, help="name and tag of the image, for step 3")
    commands.choices["check"].add_argument("--before", default="HEAD", help="the commit to compare with")
    given = parser.parse_args(arguments)
    if given.command == "check":
        return check(given.checkout, given.before)
    if (given.checkout / CHART).is_dir() and shutil.which("sextant") is None:  # before the first edit
        sys.stderr.write("sextant is not on the PATH; get it with `pip install sextant`. Nothing was changed.\n")
        return 1
    try:
        apply_chart(given.checkout)
    except (Unknown, FileNotFoundError) as error:  # the second where there is no chart
        sys.stderr.write(f"{error}\n")
        return 1
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"{error}\n{error.stdout.decode()}{error.stderr.decode()}")
        return 1
    if given.image:
        apply_values(given.checkout, *given.image)
    return 0


def name_and_tag(image: str) -> tuple[str, str]:
    """Read NAME:TAG."""
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        raise argparse.ArgumentTypeError(f"{image!r} has no tag")
    return name, tag


def check(checkout: Path, before: str) -> int:
    """Print a line for each service and cluster, and what does not fit; return 1 if anything does not."""
    bad = 0
    for problem in wrong_routes(checkout):
        sys.stdout.write(f"BAD    {problem}\n")
        bad += 1
    with tempfile.TemporaryDirectory() as folder:
        archive = [
            "git",
            "-C",
            str(checkout),
            "archive",
            f"--output={folder}/before.tar",
            before,
            str(CHART),
            str(SERVICES),
        ]
        subprocess.run(archive, check=True, timeout=GIT_SECONDS)
        subprocess.run(["tar", "-x", "-C", folder, "-f", f"{folder}/before.tar"], check=True, timeout=GIT_SECONDS)
        for service in using_the_chart(checkout):
            for environment in ENVIRONMENTS:
                try:
                    found = list(misfits(Place(service.name, environment, Path(folder), checkout)))
                except Refused as refused:
                    found = str(refused).splitlines()
                sys.stdout.write(f"{'ok    ' if not found else 'BAD   '} {service.name} in {environment}\n")
                sys.stdout.writelines(f"       {each}\n" for each in found)
                bad += bool(found)
    return 1 if bad else 0


def wrong_routes(checkout: Path) -> list[str]:
    """Say what is wrong with the shared routes, of which Helm finds only a part; nothing before there are any."""
    path = checkout / SHARED / "values.yaml"
    values = yaml.safe_load(path.read_text()) if path.exists() else {}
    routes = values.get("eventgate_sidecar", {}).get("routes")
    return [str(each) for each in inspect(routes, f"routes in {path.name}").problems] if routes else []


@dataclass(frozen=True)
class Place:
    """A service in a cluster, before and after the edits."""

    service: str
    environment: str
    before: Path
    after: Path

    def release(self, over: Values, *, chart_only: bool = False) -> list[Object]:
        """Render the release with the edited chart, and with these values over its own."""
        return rendered(overlaid(self.values(chart_only), over), self.after / CHART)

    def values(self, before: bool) -> Values:
        """Return the values of the service before or after the edits."""
        root = self.before if before else self.after
        values = values_of_service(root / SERVICES / self.service, self.environment)
        if before or (root / SHARED).exists():
            return values
        shared = shared_values("registry/eventgate-sidecar", "step-3-comes-later")
        for name in ("values.yaml", f"values-{self.environment}.yaml"):
            values = overlaid(yaml.safe_load(shared[name]), values)
        return values


def misfits(place: Place) -> Iterator[str]:
    """Go through the steps of the page, and say what one changes that it should not, or what a cluster would refuse."""
    was = rendered(place.values(before=True), place.before / CHART)
    off = place.release(with_sidecar(enabled=False, prepare=False), chart_only=True)
    if without_version(off) != without_version(was):
        yield "step 2: the chart renders otherwise without the sidecar"
    ready = place.release(with_sidecar(enabled=False))
    if without_network(ready) != without_network(off):
        yield "step 3: more changes than the NetworkPolicy"
    names = [each.name for each in isvcs(was)]
    posting = [each.name for each in isvcs(was) if variable(each.containers[0], "EVENTGATE_URL")]
    if not posting:
        return
    everything = with_sidecar(enabled=True, isvcs=posting if posting != names else [])
    for words, values in [
        ("one", with_sidecar(isvcs=posting[:1])),
        ("all", {}),
        *((words, values) for words, values in page_values() if named(values) <= set(names)),
    ]:
        over = overlaid(everything, values)
        expected = over["eventgate_sidecar"]["isvcs"] or names
        yield from (f"{words}: {each}" for each in wrong(place.release(over), ready, expected))


def with_sidecar(**values: Any) -> Values:
    """Return values of the sidecar as those of a release."""
    return {"eventgate_sidecar": values}


def named(values: Values) -> set[str]:
    """Return the InferenceServices that values name."""
    return {*values["eventgate_sidecar"].get("isvcs", []), *values.get("inference_services", {})}


def wrong(release: list[Object], ready: list[Object], expected: list[str]) -> Iterator[str]:
    """Say what is wrong with a release in which these InferenceServices should have the sidecar."""
    yield from problems(release)
    if [each.name for each in isvcs(release) if each.sidecar] != expected:
        yield f"{', '.join(expected)} should have the sidecar, and nothing else"
    after = {each.name: each.object for each in isvcs(ready)}
    for isvc in isvcs(release):
        if not isvc.sidecar and isvc.object != after[isvc.name]:
            yield f"{isvc.name} has no sidecar, and changes"
    if [each for each in release if "Policy" in each["kind"]] != [each for each in ready if "Policy" in each["kind"]]:
        yield "rules of the NetworkPolicy come or go with the sidecar; pods of the other revision need them, too"
    for each in release:
        if each["apiVersion"] in {"v1", "networking.k8s.io/v1"}:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


def page_values() -> Iterator[tuple[str, Values]]:
    """Yield the values that the page tells people to write for a service, and their first words."""
    for text in re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE.read_text().partition(FIRST_STEP_OF_A_SERVICE)[2]):
        yield " ".join(text.split()[:4]), yaml.safe_load(text)


def without_version(thing: Any) -> Any:
    """Return objects without the chart's version, which is in labels."""
    if isinstance(thing, dict):
        return {key: without_version(value) for key, value in thing.items() if key != "chart"}
    return [without_version(each) for each in thing] if isinstance(thing, list) else thing


def without_network(release: list[Object]) -> list[Object]:
    """Return the objects of a release that are no policies."""
    return [each for each in release if "Policy" not in each["kind"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
