"""The charts as seen by Helm and a cluster: lint, package, snapshots, Kubernetes' own schemas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import helm_python
import kubernetes_validate
import pytest
import yaml

from tests.helm.engine import (
    APPLICATION,
    CHARTS,
    LIBRARY,
    SNAPSHOTS,
    VALUES,
    Object,
    built,
    overlaid,
    remove_built,
    rendered,
    rendered_text,
    values_of,
)
from tests.helm.release import SIDECAR, Isvc, isvcs
from tests.helm.rules import problems
from tests.helm.rules_of_knative import OF_KSERVE
from tests.helm.rules_of_lift_wing import EXCLUDED

KUBERNETES = ("1.31", "1.34")
"""What Lift Wing runs, and what Wikimedia's CI looks ahead to."""
OWN_ANNOTATIONS = ("eventgate-sidecar.wikimedia.org/scrape", "eventgate-sidecar.wikimedia.org/port")
OFF = {"eventgate_sidecar": {"enabled": False}}
INFO = 1

each_fixture = pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)


@pytest.fixture(scope="module", autouse=True)
def charts() -> Iterator[None]:
    """Remove the built chart in the end."""
    yield
    remove_built()


def as_pod(isvc: Isvc) -> Object:
    """Return the pod that KServe would make, without what Knative and Istio add."""
    spec = {key: value for key, value in isvc.predictor.items() if key not in OF_KSERVE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": isvc.name}, "spec": spec}


@each_fixture
def test_helm_lint_passes(path: Path) -> None:
    """Strictly, with every fixture."""
    report = helm_python.lint(str(built()), values_of(path), strict=True, with_subcharts=True)
    assert [each for each in report["messages"] if each["severity"] > INFO] == []


@pytest.mark.parametrize("name", [LIBRARY, APPLICATION])
def test_the_chart_can_be_packaged(name: str, tmp_path: Path) -> None:
    """A package can be loaded again; the application's contains the library."""
    source = built() if name == APPLICATION else CHARTS / name
    archive = helm_python.package(str(source), destination=str(tmp_path))
    with helm_python.Chart.load(archive) as chart:
        assert chart.name == name
        assert [each["name"] for each in chart.dependencies] == [LIBRARY] * (name == APPLICATION)


@each_fixture
def test_a_fixture_renders_as_its_snapshot(path: Path) -> None:
    """Every change shows in a diff; `make helm` writes the snapshots."""
    assert rendered_text(values_of(path)) == (SNAPSHOTS / path.name).read_text()


@each_fixture
def test_a_fixture_breaks_no_rule(path: Path) -> None:
    """The current rendering, not only the snapshot, is valid in a cluster."""
    assert problems(rendered(values_of(path))) == []


@each_fixture
def test_no_key_is_rendered_twice(path: Path) -> None:
    """YAML keeps the last of two, and Helm does not report it."""
    text = rendered_text(values_of(path))
    assert [key for document in yaml.compose_all(text, yaml.SafeLoader) for key in repeated(document)] == []


def repeated(node: yaml.Node) -> Iterator[str]:
    """Yield every key that a map below this node has twice."""
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value]
        yield from (name for name in set(names) if names.count(name) > 1)
    for child in node.value if isinstance(node, yaml.CollectionNode) else []:
        for each in child if isinstance(child, tuple) else (child,):
            yield from repeated(each)


@pytest.mark.parametrize("version", KUBERNETES)
@each_fixture
def test_kubernetes_takes_the_objects(path: Path, version: str) -> None:
    """Every core object fits Kubernetes' schema, and so does the pod of an InferenceService."""
    release = rendered(values_of(path))
    core = [each for each in release if each["apiVersion"] in {"v1", "networking.k8s.io/v1"}]
    pods = [as_pod(isvc) for isvc in isvcs(release)]
    assert core
    assert pods
    for each in core + pods:
        kubernetes_validate.validate(each, version, strict=True)


@each_fixture
def test_disabled_it_renders_nothing(path: Path) -> None:
    """The chart renders the same as without the sidecar."""
    text = rendered_text(overlaid(values_of(path), OFF))
    assert "sidecar.istio.io" in text or path.stem == "mesh"
    assert "eventgate-sidecar" not in text
    assert "kserve-container" not in text


@each_fixture
def test_objects_around_the_pods_outlive_the_sidecar_if_prepared(path: Path) -> None:
    """Pods of the old revision keep their egress, and Prometheus its access; Helm keeps their ConfigMap."""
    around = {"NetworkPolicy", "ServiceEntry", "DestinationRule", "VirtualService"}
    on = rendered(values_of(path))
    prepared = rendered(overlaid(values_of(path), {"eventgate_sidecar": {"enabled": False, "prepare": True}}))
    off = rendered(overlaid(values_of(path), OFF))
    assert [each for each in prepared if each["kind"] in around] == [each for each in on if each["kind"] in around]
    assert [each for each in prepared if each["kind"] not in around] == [
        each for each in off if each["kind"] not in around
    ]


@each_fixture
def test_enabled_it_changes_only_what_it_needs(path: Path) -> None:
    """Without these changes, the rest is the same."""
    on, off = rendered(values_of(path)), rendered(overlaid(values_of(path), OFF))
    assert [without_the_sidecar(each, off) for each in on if is_there(each, off)] == off


@each_fixture
def test_an_isvc_that_is_not_named_is_unchanged(path: Path) -> None:
    """Only those in `isvcs` get the sidecar."""
    named = values_of(path)["eventgate_sidecar"].get("isvcs")
    release = rendered(values_of(path))
    got = [isvc.name for isvc in isvcs(release) if isvc.sidecar]
    assert got == (named or [isvc.name for isvc in isvcs(release)])


def is_there(thing: Object, release: list[Object]) -> bool:
    """Whether the release has an object of that kind and name."""
    return (thing["kind"], thing["metadata"]["name"]) in {(each["kind"], each["metadata"]["name"]) for each in release}


def without_the_sidecar(thing: Object, off: list[Object]) -> Object:
    """Take back, one by one, what the sidecar may change."""
    before = next(each for each in off if each["metadata"]["name"] == thing["metadata"]["name"])
    if thing["kind"] == "NetworkPolicy":
        thing["spec"]["ingress"][0]["ports"].remove({"port": 9102, "protocol": "TCP"})
        for rule in thing["spec"].get("egress", []):
            if "10.64.16.55/32" in str(rule):
                thing["spec"]["egress"].remove(rule)
    if thing["kind"] == "InferenceService" and Isvc(off, thing).sidecar:
        _take_back(thing, before)
    return thing


def _take_back(isvc: Object, before: Object) -> None:
    annotations, predictor = isvc["metadata"]["annotations"], isvc["spec"]["predictor"]
    for key in OWN_ANNOTATIONS:
        annotations.pop(key, None)
    if was := before["metadata"]["annotations"].get(EXCLUDED):
        annotations[EXCLUDED] = was
    else:
        annotations.pop(EXCLUDED, None)
    model, sidecar = predictor["containers"]
    assert sidecar["name"] == SIDECAR
    model_before = before["spec"]["predictor"]["containers"][0]
    predictor["containers"] = [model]
    predictor["volumes"] = [each for each in predictor["volumes"] if not each["name"].startswith(SIDECAR)]
    if not predictor["volumes"]:
        del predictor["volumes"]
    assert model.pop("name") == "kserve-container"
    model["name"] = model_before["name"]
    if "ports" not in model_before:
        assert model.pop("ports") == [{"containerPort": 8080, "protocol": "TCP"}]
    model["env"] = _posting_directly(model["env"], model_before.get("env", []))
    if not model["env"]:
        del model["env"]


def _posting_directly(env: list[Object], before: list[Object]) -> list[Object]:
    """Give EVENTGATE_URL back its value, or take it out where there was none."""
    was = [each for each in before if each["name"] == "EVENTGATE_URL"]
    return [each for variable in env for each in (was if variable["name"] == "EVENTGATE_URL" else [variable])]
