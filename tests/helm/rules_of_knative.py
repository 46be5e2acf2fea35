"""What Knative Serving 1.21 takes in a revision, with the feature flags of Lift Wing.

Its validator runs when KServe's controller writes the Knative Service, after Helm has reported success.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from tests.helm.release import Isvc, mounts

PROBES = ("readinessProbe", "livenessProbe", "startupProbe")
SOURCES = {"configMap", "secret", "emptyDir", "projected"}
PROJECTED = {"configMap", "secret", "serviceAccountToken", "downwardAPI"}
RESERVED_NAMES = {"queue-proxy", "istio-proxy", "istio-init", "storage-initializer", "agent"}
RESERVED_ENV = {"K_SERVICE", "K_REVISION", "K_CONFIGURATION"}
OF_THE_POD = {
    "containers",
    "volumes",
    "serviceAccountName",
    "securityContext",
    "imagePullSecrets",
    "enableServiceLinks",
}
BY_FLAG = {"dnsConfig", "nodeSelector", "affinity", "tolerations"}
OF_KSERVE = {
    "minReplicas", "maxReplicas", "timeout", "containerConcurrency", "scaleTarget", "scaleMetric", "batcher", "logger",
    "canaryTrafficPercent", "labels", "annotations",
}  # fmt: skip


def one_port(isvc: Isvc) -> Iterator[str]:
    """With several containers, one has a port, and no other has any."""
    serving = [each["name"] for each in isvc.containers if each.get("ports")]
    ports = sum(len(each.get("ports") or []) for each in isvc.containers)
    if len(isvc.containers) > 1 and not serving:
        yield "no container has ports; with several Knative assumes none, so give the model's its one"
    elif ports > 1:
        yield f"{ports} ports in {', '.join(serving)}; Knative takes one in the whole pod"


def no_probes(isvc: Isvc) -> Iterator[str]:
    """Only the container that serves has probes."""
    for container in isvc.containers:
        for probe in PROBES if not container.get("ports") and len(isvc.containers) > 1 else ():
            if probe in container:
                yield f"{container['name']} has a {probe}; Knative allows none but on the container that serves"


def no_lifecycle(isvc: Isvc) -> Iterator[str]:
    """No container has lifecycle: the API server drops it without a word, and Knative sets its own."""
    for container in isvc.containers:
        if "lifecycle" in container:
            yield f"{container['name']} has lifecycle, which never reaches the pod"


def no_field_references(isvc: Isvc) -> Iterator[str]:
    """No variable is read from the pod."""
    for container in isvc.containers:
        for variable in container.get("env") or []:
            for source in {"fieldRef", "resourceFieldRef"} & set(variable.get("valueFrom") or {}):
                yield f"{container['name']} reads {variable['name']} by {source}; give it as a value"


def no_reserved_variables(isvc: Isvc) -> Iterator[str]:
    """No variable is one that Knative sets."""
    for container in isvc.containers:
        reserved = RESERVED_ENV | ({"PORT"} if container.get("ports") or len(isvc.containers) == 1 else set())
        for variable in container.get("env") or []:
            if variable["name"] in reserved:
                yield f"{container['name']} sets {variable['name']}, which Knative sets itself"


def every_variable_once(isvc: Isvc) -> Iterator[str]:
    """No variable is there twice: env is a map to the API server."""
    for container in isvc.containers:
        for name in _repeated(each["name"] for each in container.get("env") or []):
            yield f"{container['name']} has {name} twice in its env"


def known_sources(isvc: Isvc) -> Iterator[str]:
    """Volumes come from where Knative lets them."""
    for volume in isvc.volumes:
        for source in sorted(set(volume) - {"name"} - SOURCES):
            yield f"volume {volume['name']} is a {source}; Knative takes {', '.join(sorted(SOURCES))}"
        for part in (volume.get("projected") or {}).get("sources") or []:
            for source in sorted(set(part) - PROJECTED):
                yield f"volume {volume['name']} projects a {source}; Knative takes {', '.join(sorted(PROJECTED))}"


def every_volume_mounted(isvc: Isvc) -> Iterator[str]:
    """Volumes and mounts belong together, and each is there once."""
    names = [each["name"] for each in isvc.volumes]
    mounted = {mount["name"] for container in isvc.containers for mount in mounts(container)}
    for name in sorted(set(names) - mounted):
        yield f"volume {name} is mounted by no container"
    for name in sorted(mounted - set(names)):
        yield f"a container mounts {name}, and there is no such volume"
    for name in _repeated(names):
        yield f"volume {name} is there twice"
    for container in isvc.containers:
        for path in _repeated(mount["mountPath"] for mount in mounts(container)):
            yield f"{container['name']} mounts two volumes at {path}"


def mounts_that_stay(isvc: Isvc) -> Iterator[str]:
    """No mount has what Knative drops or changes."""
    writable = {each["name"] for each in isvc.volumes if "emptyDir" in each}
    for container in isvc.containers:
        for mount in mounts(container):
            where = f"{container['name']} mounts {mount['name']}"
            if "subPathExpr" in mount:
                yield f"{where} with subPathExpr, which Knative rejects"
            if mount["name"] not in writable and not mount.get("readOnly"):
                yield f"{where} for writing; Knative makes all but an emptyDir read-only, so say readOnly: true"


def allowed_security(isvc: Isvc) -> Iterator[str]:
    """No security context asks for more than Knative gives."""
    for container in isvc.containers:
        if (container.get("securityContext") or {}).get("capabilities", {}).get("add"):
            yield f"{container['name']} adds capabilities, which Knative rejects"
    if "fsGroupChangePolicy" in (isvc.predictor.get("securityContext") or {}):
        yield "the pod has fsGroupChangePolicy, which Knative rejects"


def known_pod_settings(isvc: Isvc) -> Iterator[str]:
    """The predictor has no setting of a pod that Knative rejects or drops."""
    for key in sorted(set(isvc.predictor) - OF_THE_POD - BY_FLAG - OF_KSERVE):
        yield f"the predictor has {key}, which Knative rejects"


def free_names(isvc: Isvc) -> Iterator[str]:
    """No container has a name that is taken, by another or by one that is injected."""
    names = [each["name"] for each in isvc.containers]
    for name in sorted(RESERVED_NAMES & set(names)):
        yield f"a container is called {name}, which is the name of one that is injected"
    for name in _repeated(names):
        yield f"two containers are called {name}"


def _repeated(names: Iterator[str] | list[str]) -> list[str]:
    return [name for name, times in Counter(chain(names)).items() if times > 1]


RULES = (
    one_port, no_probes, no_lifecycle, no_field_references, no_reserved_variables, every_variable_once, known_sources,
    every_volume_mounted, mounts_that_stay, allowed_security, known_pod_settings, free_names,
)  # fmt: skip
