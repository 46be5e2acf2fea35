"""The values of Lift Wing's services, read as helmfile reads them in the CI of deployment-charts.

That CI copies the folder of one service to a place of its own, with the files that its symbolic links lead to, and runs
helmfile there: nothing outside the folder can be read.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import yaml

from tests.helm.engine import Values, overlaid

RELEASE = "main"


def values_of_service(folder: Path, environment: str) -> Values:
    """Return the values of the release `main`, with those of later files laid over those of earlier ones."""
    with tempfile.TemporaryDirectory() as outer:
        copy = Path(outer) / "asset"
        shutil.copytree(folder, copy)
        values: Values = {}
        for name in files_of_values((copy / "helmfile.yaml").read_text(), environment):
            if (copy / name).exists():  # helmfile only warns: missingFileHandler
                values = overlaid(values, yaml.safe_load((copy / name).read_text()) or {})
        return values


def files_of_values(helmfile: str, environment: str) -> list[str]:
    """Return the files of values of the release `main`, in order, without those outside the repository."""
    default = re.split(r"(?m)^  default:", helmfile, maxsplit=1)[1]
    listed = re.split(r"(?m)^    values:\n", default, maxsplit=1)[1]
    found = re.findall(r'(?m)^      - "([^"]+)"', re.split(r"(?m)^ {0,5}\S", listed, maxsplit=1)[0])
    return [_named(each, environment) for each in found if not each.startswith("/")]


def _named(template: str, environment: str) -> str:
    name = re.sub(r"{{ *\.Environment\.Name *}}", environment, template)
    return re.sub(r"{{`{{ *\.Release\.Name *}}`}}", RELEASE, name)
