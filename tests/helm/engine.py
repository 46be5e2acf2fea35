"""The Helm engine: build the charts as `helm dependency build` does, render them, read what comes out."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parent.parent.parent
CHARTS = ROOT / "helm"
LIBRARY = "eventgate-sidecar"
APPLICATION = "isvc"
HERE = Path(__file__).parent
VALUES = sorted((HERE / "values").glob("*.yaml"))
SNAPSHOTS = HERE / "snapshots"

Values = dict[str, Any]
Object = dict[str, Any]
"""A Kubernetes object."""

helm_python.disable_logging()  # a template that refuses values would be logged, too


class Refused(Exception):
    """Helm refused the values; the text is what it says, without where in which template."""


BUILT: list[Path] = []


@functools.cache
def built(*left_out: str) -> Path:
    """Return the folder of the application chart, with the library inside and without the files that are left out."""
    folder = Path(tempfile.mkdtemp(prefix="helm-"))
    BUILT.append(folder)
    for name in (LIBRARY, APPLICATION):
        ignored = shutil.ignore_patterns("charts", "Chart.lock", *left_out)
        shutil.copytree(CHARTS / name, folder / name, ignore=ignored)
    helm_python.dependency_update(str(folder / APPLICATION))
    return folder / APPLICATION


def remove_built() -> None:
    """Remove what `built` made."""
    while BUILT:
        shutil.rmtree(BUILT.pop())
    built.cache_clear()


def values_of(path: Path) -> Values:
    """Read a file of values, and give it routes as --set-file would."""
    values: Values = yaml.safe_load(path.read_text())
    values["eventgate_sidecar"].setdefault("routes", (HERE / "data" / "routes.yaml").read_text())
    return values


def overlaid(values: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """Lay a further file of values over one, as Helm does: maps are merged, all else is replaced."""
    result = dict(values)
    for key, value in over.items():
        below = result.get(key)
        result[key] = overlaid(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def rendered_text(values: Values, chart: Path | None = None) -> str:
    """Render a release called main.

    Raises:
        Refused: the values are wrong.

    """
    with helm_python.Chart.load(chart or built()) as loaded:
        try:
            files = loaded.render(values, name="main", namespace="articletopic-outlink")
        except helm_python.HelmError as error:
            raise Refused(_without_place(str(error))) from None
    documents = (text.strip().removeprefix("---").strip() for _, text in sorted(files.items()) if text.strip())
    return "".join(f"---\n{each}\n" for each in documents)


def rendered(values: Values, chart: Path | None = None) -> list[Object]:
    """Render a release into objects."""
    return [each for each in yaml.safe_load_all(rendered_text(values, chart)) if each]


def _without_place(message: str) -> str:
    lines = message.strip().splitlines()
    first, separator, rest = lines[0].partition("): ")
    return "\n".join([rest] * bool(separator and rest.strip()) + lines[1:]) if "execution error" in first else message
