"""What Lift Wing asks of a pod: its namespaces, istio-proxy, the end of a pod, and the objects beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.helm.release import Isvc, mebibytes, millicores, mounts, port_of, seconds, variable

CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
EXCLUDED = "traffic.sidecar.istio.io/excludeOutboundPorts"
KEPT = "helm.sh/resource-policy"
BEFORE_SIGTERM = 30
AT_THE_END = 5


def restricted(isvc: Isvc) -> Iterator[str]:
    """The sidecar is what the Pod Security Standard `restricted` asks for, read-only, and no user with a meaning."""
    context = (isvc.sidecar or {}).get("securityContext") or {}
    for key, expected in CONTAINER.items() if isvc.sidecar else ():
        if context.get(key) != expected:
            yield f"eventgate-sidecar's securityContext.{key} is {context.get(key)}, and should be {expected}"
    if isvc.sidecar and context.get("runAsUser") in {None, 0, 1337}:
        yield f"eventgate-sidecar runs as user {context.get('runAsUser')}; give a number, not root's, not istio-proxy's"


def enough_resources(isvc: Isvc) -> Iterator[str]:
    """The sidecar asks for what the LimitRange of every namespace wants at least, and may use that."""
    resources = (isvc.sidecar or {}).get("resources") or {}
    for kind in ("requests", "limits") if isvc.sidecar else ():
        given = resources.get(kind) or {}
        if millicores(given.get("cpu", 0)) < 100 or mebibytes(given.get("memory", "0Mi")) < 100:
            yield f"eventgate-sidecar's {kind} are {given}; LimitRanges want 100m and 100Mi at least"
        if "ephemeral-storage" in given:
            yield f"eventgate-sidecar's {kind} have ephemeral-storage; a limit would become the whole pod's"


def limits_above_requests(isvc: Isvc) -> Iterator[str]:
    """No limit is below its request."""
    resources = (isvc.sidecar or {}).get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, read in (("cpu", millicores), ("memory", mebibytes)):
        if name in requests and name in limits and read(limits[name]) < read(requests[name]):
            yield f"eventgate-sidecar's limit of {name} is {limits[name]}, below its request of {requests[name]}"


def pinned_image(isvc: Isvc) -> Iterator[str]:
    """The image has a tag, and one that stays."""
    _, _, tag = (isvc.sidecar or {"image": "x:y"})["image"].rpartition("/")[2].partition(":")
    if tag in {"", "latest"}:
        yield f"eventgate-sidecar's image is {(isvc.sidecar or {})['image']}; give the tag of one build"


def time_to_end(isvc: Isvc) -> Iterator[str]:
    """The pod lives until the sidecar has taken the last event."""
    drain = seconds(variable(isvc.sidecar, "SIDECAR_DRAIN")) if isvc.sidecar else 0
    timeout = isvc.predictor.get("timeout", 300)
    if isvc.sidecar and drain + BEFORE_SIGTERM + AT_THE_END > timeout:
        yield f"SIDECAR_DRAIN is {drain} s, and kubelet kills the pod {timeout - BEFORE_SIGTERM} s after SIGTERM"


def routes_as_a_folder(isvc: Isvc) -> Iterator[str]:
    """routes.yaml is in a ConfigMap of this release, mounted so that a change of it arrives."""
    if isvc.sidecar is None:
        return
    folder, _, file = variable(isvc.sidecar, "SIDECAR_ROUTES").rpartition("/")
    mount = next((each for each in mounts(isvc.sidecar) if each["mountPath"] == folder), None)
    if mount is None or "subPath" in mount:
        yield f"{folder}/{file} is not in a folder that is mounted whole; a subPath never changes"
        return
    volume = next((each for each in isvc.volumes if each["name"] == mount["name"]), {})
    name = (volume.get("configMap") or {}).get("name")
    if file not in _data(isvc, name):
        yield f"{folder}/{file} should come from ConfigMap {name}, and this release has none with {file}"


def a_change_of_routes_arrives(isvc: Isvc) -> Iterator[str]:
    """A checksum in the ConfigMap's name is that of the routes; without one the sidecars read them again themselves."""
    for each in _routes_maps(isvc):
        name, text = each["metadata"]["name"], each["data"]["routes.yaml"]
        checksum = re.search(r"eventgate-sidecar(?:-([0-9a-f]+))?$", name)
        if checksum is None or not hashlib.sha256(text.encode()).hexdigest().startswith(checksum[1] or ""):
            yield "the ConfigMap is not named after its routes.yaml, so that a change of it makes no new revision"
        elif bool(checksum[1]) != each.get("immutable", False):
            yield f"ConfigMap {name} should be immutable exactly if its name has a checksum"


def old_routes_stay(isvc: Isvc) -> Iterator[str]:
    """Helm leaves the ConfigMap to the pods of an older revision."""
    for each in _routes_maps(isvc):
        if (each["metadata"].get("annotations") or {}).get(KEPT) != "keep":
            yield f"Helm deletes ConfigMap {each['metadata']['name']} while pods of the old revision still need it"


def a_way_past_istio(isvc: Isvc) -> Iterator[str]:
    """Every https endpoint can be reached: its port bypasses istio-proxy, or the mesh knows its host."""
    if isvc.sidecar is None:
        return
    excluded = isvc.annotations.get(EXCLUDED, "").split(",")
    known = {host for each in isvc.beside("ServiceEntry") for host in each["spec"]["hosts"]}
    known |= {"eventgate-main.discovery.wmnet"}
    for url in _endpoints(yaml.safe_load(_routes_text(isvc) or "{}")):
        parts = urlsplit(url)
        if parts.scheme == "https" and str(parts.port or 443) not in excluded and parts.hostname not in known:
            yield f"{url} leads into istio-proxy, which knows no such host; exclude port {parts.port or 443}"


def room_to_write(isvc: Isvc) -> Iterator[str]:
    """What the sidecar is told to write to is in an emptyDir with a size."""
    places = {"SIDECAR_SPOOL": "", "SIDECAR_LAST_GOOD": "/routes.yaml"}
    for name, file in places.items():
        folder = variable(isvc.sidecar or {}, name).removesuffix(file)
        mount = next((each for each in mounts(isvc.sidecar or {}) if each["mountPath"] == folder), {})
        volume = next((each for each in isvc.volumes if each["name"] == mount.get("name")), {})
        if folder and "emptyDir" not in volume:
            yield f"{name} is in {folder}, and no emptyDir is mounted there; the root is read-only"
        elif folder and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} has no sizeLimit, and may fill the node"


def metrics_through_the_policy(isvc: Isvc) -> Iterator[str]:
    """A NetworkPolicy of the release lets Prometheus through to the sidecar's metrics."""
    if isvc.sidecar is None:
        return
    port = port_of(isvc.sidecar, "SIDECAR_ADMIN")
    rules = [rule for policy in _policies(isvc) for rule in policy["spec"].get("ingress") or []]
    if rules and port not in {each["port"] for rule in rules for each in rule["ports"]}:
        yield f"no NetworkPolicy lets anybody in to port {port}, where metrics are"


def _policies(isvc: Isvc) -> Iterator[Any]:
    labels = {**isvc.object["metadata"]["labels"], "component": "predictor"}
    for policy in isvc.beside("NetworkPolicy"):
        if (policy["spec"].get("podSelector") or {}).get("matchLabels", {}).items() <= labels.items():
            yield policy


def _data(isvc: Isvc, name: object) -> dict[str, str]:
    return next((each["data"] for each in isvc.beside("ConfigMap") if each["metadata"]["name"] == name), {})


def _routes_maps(isvc: Isvc) -> list[Any]:
    named = [each["configMap"]["name"] for each in isvc.volumes if each["name"] == "eventgate-sidecar-routes"]
    return [each for each in isvc.beside("ConfigMap") if each["metadata"]["name"] in named]


def _routes_text(isvc: Isvc) -> str:
    return "".join(each["data"].get("routes.yaml", "") for each in _routes_maps(isvc))


def _endpoints(routes: dict[str, Any]) -> Iterator[str]:
    for upstream in (routes.get("upstreams") or {}).values():
        for datacenter in upstream.get("datacenters") or [""]:
            yield upstream["url"].replace("{datacenter}", datacenter)


RULES = (
    restricted, enough_resources, limits_above_requests, pinned_image, time_to_end, routes_as_a_folder,
    a_change_of_routes_arrives, old_routes_stay, a_way_past_istio, room_to_write, metrics_through_the_policy,
)  # fmt: skip
