"""The gateway's chart: it renders what its README promises, and Kubernetes accepts it."""

from __future__ import annotations

from typing import Any

import helm_python
import kubernetes_validate
import pytest

from tests.helm.engine import CHARTS, ROOT, Object, Refused, Values, overlaid, rendered, values_of
from tests.helm.release import SIDECAR, isvcs
from tests.helm.test_chart import KUBERNETES
from tests.helm.test_values import HERE

CHART = CHARTS / "gateway"
VALUES: Values = {
    "image": "docker-registry.discovery.wmnet/repos/machine-learning/eventgate-sidecar",
    "version": "1",
    "labels": {"env": "production"},
    "routes": (ROOT / "routes.yaml").read_text(),
    "hand_over_from": ["10.67.16.0/21"],
    "networkpolicy": {
        "client_nets": ["10.68.0.0/16"],
        "metrics_namespace": "monitoring",
        "dst_nets": [{"cidr": "10.2.2.45/32", "ports": [{"port": 4492}]}],
    },
}
ALL = {"autoscaling": {"enabled": True}, "metrics": {"service_monitor": True}}


def release(**more: Any) -> dict[str, Object]:
    """Render the chart; return its objects by kind, the headless Service apart."""
    objects = rendered(overlaid(VALUES, more), CHART)
    named = {
        each["kind"] + ("/headless" if each["spec"].get("clusterIP") else "") if "spec" in each else each["kind"]: each
        for each in objects
    }
    assert len(named) == len(objects)
    return named


def container(objects: dict[str, Object]) -> Object:
    """Return the gateway's container."""
    (found,) = objects["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(objects: dict[str, Object]) -> dict[str, str]:
    """Return the variables of the container."""
    return {each["name"]: each["value"] for each in container(objects)["env"]}


def test_helm_lint_passes() -> None:
    """Strictly."""
    report = helm_python.lint(str(CHART), overlaid(VALUES, ALL), strict=True)
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_the_objects(version: str) -> None:
    """Every object fits Kubernetes' schema; a ServiceMonitor is the operator's."""
    objects = release(**ALL)
    assert objects.pop("ServiceMonitor")["spec"]["endpoints"] == [{"port": "http-metrics"}]
    for each in objects.values():
        kubernetes_validate.validate(each, version, strict=True)


def test_it_serves_others_and_trusts_only_the_networks() -> None:
    """The flag, an open address, a spool on the volume, and the networks whose labels count."""
    objects = release()
    variables = environment(objects)
    assert variables["SIDECAR_GATEWAY"] == "1"
    assert variables["SIDECAR_LISTEN"] == "0.0.0.0:8888"
    assert variables["SIDECAR_HAND_OVER_FROM"] == "10.67.16.0/21"
    mounts = {each["name"]: each["mountPath"] for each in container(objects)["volumeMounts"]}
    assert variables["SIDECAR_SPOOL"].startswith(mounts["spool"])
    assert "SIDECAR_HAND_OVER_FROM" not in environment(release(hand_over_from=[]))


def test_scaling_down_keeps_the_claim() -> None:
    """Events left on it wait for the next pod with its number, and are not handed over again."""
    spec = release()["StatefulSet"]["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert [each["metadata"]["name"] for each in spec["volumeClaimTemplates"]] == ["spool"]
    assert "SIDECAR_HAND_OVER" not in environment(release())
    scaled = release(**ALL)
    assert "replicas" not in scaled["StatefulSet"]["spec"]
    down = scaled["HorizontalPodAutoscaler"]["spec"]["behavior"]["scaleDown"]
    assert (down["stabilizationWindowSeconds"], down["policies"][0]["value"]) == (3600, 1)


def test_the_pod_has_time_to_end() -> None:
    """It is killed after `drain_seconds` and the additional time of an end."""
    spec = release(drain_seconds=40)["StatefulSet"]["spec"]["template"]["spec"]
    assert (spec["terminationGracePeriodSeconds"], environment(release(drain_seconds=40))["SIDECAR_DRAIN"]) == (
        55,
        "40s",
    )


def test_a_client_stays_with_a_pod() -> None:
    """The events of an order key are in one spool."""
    spec = release()["Service"]["spec"]
    assert (spec["sessionAffinity"], spec["ports"][0]["port"]) == ("ClientIP", 8888)


def test_the_pod_is_restricted() -> None:
    """By Kubernetes' restricted standard, with a read-only root and no token."""
    objects = release()
    pod = objects["StatefulSet"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(objects)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_both_directions_are_closed_but_for_what_is_listed() -> None:
    """Events come from the networks that are named, and leave to EventGate's addresses."""
    spec = release()["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    events, metrics = spec["ingress"]
    assert [each["ipBlock"]["cidr"] for each in events["from"]] == ["10.67.16.0/21", "10.68.0.0/16"]
    assert metrics["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert [each.get("to") for each in spec["egress"]] == [None, [{"ipBlock": {"cidr": "10.2.2.45/32"}}]]
    closed = release(hand_over_from=[], networkpolicy={"client_nets": []})["NetworkPolicy"]["spec"]["ingress"]
    assert [[port["port"] for port in each["ports"]] for each in closed] == [[9102]]


def test_each_text_of_the_rules_has_its_configmap() -> None:
    """A change makes new pods, and those of the revision before keep theirs."""
    one, other = release(), release(routes="version: 1\n")
    assert one["ConfigMap"]["metadata"]["name"] != other["ConfigMap"]["metadata"]["name"]
    assert one["ConfigMap"]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    for each in (one, other):
        volumes = each["StatefulSet"]["spec"]["template"]["spec"]["volumes"]
        assert volumes[0]["configMap"]["name"] == each["ConfigMap"]["metadata"]["name"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "latest"},
        {"image": "registry/image:1"},
        {"labels": {"env": ""}},
        {"routes": ""},
        {"hand_over_from": ["everyone"]},
        {"spool": {"size": "256Mi"}},
        {"spool": {"siez": "1Gi"}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_wrong_values_are_refused(wrong: Values) -> None:
    """The schema is closed, and what cannot work does not reach a cluster."""
    with pytest.raises(Refused):
        rendered(overlaid(VALUES, wrong), CHART)


def test_a_sidecar_is_told_its_gateway() -> None:
    """`spool.hand_over` is the flag's variable, and a URL that is none is refused."""
    values = values_of(HERE / "values" / "outlink.yaml")
    url = "http://main-gateway.gateways.svc.cluster.local:8888/v1/events"
    spool = {"enabled": True, "hand_over": url}
    isvc = next(isvcs(rendered(overlaid(values, {"eventgate_sidecar": {"spool": spool}}))))
    sidecar = next(each for each in isvc.predictor["containers"] if each["name"] == SIDECAR)
    assert {"name": "SIDECAR_HAND_OVER", "value": url} in sidecar["env"]
    with pytest.raises(Refused, match=r"eventgate_sidecar\.spool\.hand_over is"):
        rendered(overlaid(values, {"eventgate_sidecar": {"spool": {**spool, "hand_over": "gateway:8888"}}}))
