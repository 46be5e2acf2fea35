"""The modules for deployment-charts are the library chart's templates, in the form that sextant reads."""

from __future__ import annotations

import json
import re

import yaml

from tests.helm.engine import CHARTS

LIBRARY = CHARTS / "eventgate-sidecar"
MODULES = CHARTS / "sextant" / "eventgate-sidecar"
VERSION = yaml.safe_load((LIBRARY / "Chart.yaml").read_text())["version"]
DESCRIBED = {each["name"]: each for each in json.loads((MODULES / "module.json").read_text())["modules"]}
TEMPLATES = {path.stem[1:]: path.read_text() for path in (LIBRARY / "templates").glob("_*.tpl")}


def test_the_modules_are_the_templates_of_the_library() -> None:
    """Both ways render the same; `make helm` regenerates the modules."""
    assert {path.name: path.read_text() for path in MODULES.glob("*.tpl")} == {
        f"{name}_{VERSION}.tpl": text for name, text in TEMPLATES.items()
    }


def test_every_module_is_described() -> None:
    """Sextant finds each by its name and its minor version."""
    assert {name: each["version"] for name, each in DESCRIBED.items()} == dict.fromkeys(TEMPLATES, VERSION[:-2])


def test_a_module_depends_on_what_it_includes_and_on_nothing_else() -> None:
    """A chart that asks for a module gets all that it needs, and no other version of what it has already."""
    for name, text in TEMPLATES.items():
        code = re.sub(r"{{-? ?/\*.*?\*/", "", text, flags=re.DOTALL)
        included = set(re.findall(r'"eventgate-sidecar\.(\w+)\.', code)) & set(TEMPLATES)
        assert DESCRIBED[name]["depends"] == [
            f"eventgate-sidecar.{each}:{VERSION[:-2]}" for each in sorted(included - {name})
        ]


def test_no_module_uses_what_is_private_to_another() -> None:
    """A template with an underscore can change in a patch release."""
    foreign = {
        f"{name}: {module}.{template}"
        for name, text in TEMPLATES.items()
        for module, template in re.findall(r'"eventgate-sidecar\.(\w+)\.(_\w+)"', text)
        if module != name
    }
    assert foreign == set()


def test_the_changelog_knows_the_version() -> None:
    """Anyone who updates a chart can read what changed."""
    assert (MODULES / "CHANGELOG.md").read_text().startswith(f"## {VERSION}\n")


def test_the_values_are_those_of_the_library() -> None:
    """A chart takes the defaults from the module's values.yaml."""
    values = yaml.safe_load((MODULES / "values.yaml").read_text())
    assert values == {"eventgate_sidecar": yaml.safe_load((LIBRARY / "values.yaml").read_text())}
