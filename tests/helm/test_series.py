"""The edits of deployment-charts, made to a small checkout that has the places they look for."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.helm.deployment_charts import PAGE, Place, main, misfits, named, page_values, wrong_routes
from tests.helm.edits import Unknown
from tests.helm.engine import HERE, ROOT, rendered
from tests.helm.rules import problems
from tests.helm.series import (
    CHART,
    ENVIRONMENTS,
    MODULES,
    SERVICES,
    SHARED,
    apply_chart,
    apply_values,
    shared_values,
)
from tests.helm.services import files_of_values, values_of_service

CHECKOUT = HERE / "data" / "checkout"
IMAGE = ("docker-registry.discovery.wmnet/repos/machine-learning/eventgate-sidecar", "12-1a2b3c4d")


def vendor(checkout: Path) -> None:
    """Do what sextant does for our modules, the ones that this checkout has."""
    target = checkout / CHART / "templates" / "vendor" / MODULES.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in MODULES.glob("*.tpl"):
        shutil.copy(path, target)


def applied(folder: Path) -> Path:
    """Return a copy of the small checkout, with all edits."""
    checkout = folder / "after"
    shutil.copytree(CHECKOUT, checkout)
    apply_chart(checkout, vendor)
    apply_values(checkout, *IMAGE)
    return checkout


def contents(folder: Path) -> dict[str, str]:
    """Return every file below a folder, and where each symbolic link leads."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_edits_do_what_the_page_says(tmp_path: Path, environment: str) -> None:
    """Without the sidecar nothing changes, with it no rule is broken, and what a step adds outlives it by one."""
    checkout = applied(tmp_path)
    for service in ("scores", "silent"):
        assert list(misfits(Place(service, environment, CHECKOUT, checkout))) == []
    shutil.rmtree(checkout / SERVICES)
    shutil.copytree(CHECKOUT / SERVICES, checkout / SERVICES)
    assert list(misfits(Place("scores", environment, CHECKOUT, checkout))) == []  # as after step 2


def test_the_edits_can_be_made_again(tmp_path: Path) -> None:
    """A second run changes nothing, nor does it undo what people wrote in the shared values since."""
    checkout = applied(tmp_path)
    shared = checkout / SERVICES / "_eventgate-sidecar_" / "values.yaml"
    shared.write_text(shared.read_text().replace(IMAGE[1], "13-5e6f7a8b"))
    before = contents(checkout)
    apply_chart(checkout, vendor)
    apply_values(checkout, *IMAGE)
    assert contents(checkout) == before


def test_an_older_module_stays_beside_ours(tmp_path: Path) -> None:
    """A chart that has the old version locked can still be vendored."""
    description = json.loads((applied(tmp_path) / "modules" / MODULES.name / "module.json").read_text())
    versions = [(each["name"], each["version"]) for each in description["modules"]]
    assert versions[0] == ("name", "1.0")
    assert ("name", "1.1") in versions


def test_the_chart_gets_its_next_minor_version(tmp_path: Path) -> None:
    """Charts only go up, and a tight pin stays as tight as it was."""
    chart = applied(tmp_path) / CHART
    assert yaml.safe_load((chart / "Chart.yaml").read_text())["version"] == "0.5.0"
    assert "base.external-services-networkpolicy:1.0.1" in json.loads((chart / "package.json").read_text())


def test_the_fixture_breaks_no_rule(tmp_path: Path) -> None:
    """What the CI of deployment-charts renders of the chart has the sidecar in it."""
    checkout = applied(tmp_path)
    release = rendered(
        yaml.safe_load((checkout / CHART / ".fixtures" / "eventgate-sidecar.yaml").read_text()), checkout / CHART
    )
    assert problems(release) == []
    assert str(release).count("'name': 'eventgate-sidecar'") == 2


def test_another_chart_is_left_alone(tmp_path: Path) -> None:
    """Where a place is missing, that is said, and no template is half edited."""
    checkout = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, checkout)
    template = checkout / CHART / "templates" / "services.yaml"
    template.write_text(template.read_text().replace("$container_config", "$other"))
    before = contents(checkout / CHART)
    with pytest.raises(Unknown, match=r"services.yaml: 0 places have 'if \$container_config'"):
        apply_chart(checkout, vendor)
    assert contents(checkout / CHART) == before


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_folder_of_a_service_has_all_that_it_reads(tmp_path: Path, environment: str) -> None:
    """CI copies one folder, with what its links lead to; a path to another folder leads nowhere there."""
    folder = applied(tmp_path) / SERVICES / "scores"
    values = values_of_service(folder, environment)["eventgate_sidecar"]
    assert (values["image"], values["version"]) == IMAGE
    assert values["labels"]["env"] == ("staging" if "staging" in environment else "production")
    helmfile = folder / "helmfile.yaml"
    helmfile.write_text(helmfile.read_text().replace('"eventgate-sidecar', '"../_eventgate-sidecar_/values'))
    assert "eventgate_sidecar" not in values_of_service(folder, environment)


def test_values_are_read_in_the_order_of_helmfile() -> None:
    """The service's own come after the shared ones; what is outside the repository is left out."""
    text = (CHECKOUT / SERVICES / "scores" / "helmfile.yaml").read_text()
    assert files_of_values(text, "x") == ["values.yaml", "values-x.yaml", "values-main.yaml"]


def test_the_shared_values_are_those_of_the_page() -> None:
    """The page shows what `apply` writes: beside the routes of this repository, nothing else."""
    files = {name: yaml.safe_load(text) for name, text in shared_values(*IMAGE).items()}
    assert files["values.yaml"]["eventgate_sidecar"].pop("routes") == (ROOT / "routes.yaml").read_text()
    step = PAGE.read_text().partition("\n## 3.")[2].partition("\n## 4.")[0]
    shown = [yaml.safe_load(text) for text in re.findall(r"(?ms)^```yaml\n(.*?)^```", step)]
    assert shown == [files["values.yaml"], files["values-ml-staging-codfw.yaml"], files["values-ml-serve-eqiad.yaml"]]


def test_shared_routes_are_checked_as_a_sidecar_would(tmp_path: Path) -> None:
    """Helm finds few mistakes in them; their own tests are run too."""
    checkout = applied(tmp_path)
    assert wrong_routes(checkout) == []
    shared = checkout / SHARED / "values.yaml"
    shared.write_text(shared.read_text().replace("- mediawiki.revision_score_drafttopic", "- mediawiki.other"))
    assert "test: a staging drafttopic score goes to the testing stream" in " ".join(wrong_routes(checkout))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["apply", ".", "--image", "registry/eventgate-sidecar"], "'registry/eventgate-sidecar' has no tag"),
        (["apply", "nowhere"], "nowhere/charts/kserve-inference"),
    ],
)
def test_a_call_that_cannot_work_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong argument is named, and nothing is edited."""
    with contextlib.suppress(SystemExit):
        assert main(arguments) == 1
    assert words in capsys.readouterr().err


def test_the_services_of_the_page_are_known() -> None:
    """`check` renders the values of the page where these are; another name would never be rendered."""
    names = {each for _, values in page_values() for each in named(values)}
    assert names == {
        "outlink-topic-model",
        *(f"revertrisk-{each}" for each in ("language-agnostic", "multilingual", "wikidata")),
    }
