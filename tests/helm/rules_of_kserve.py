"""What KServe 0.17 does with more than one container, and what the model needs to find the sidecar."""

from __future__ import annotations

from collections.abc import Iterator

from tests.helm.release import Isvc, port_of, variable

MODEL = "kserve-container"


def model_first(isvc: Isvc) -> Iterator[str]:
    """With several containers the model's is the first, under the name that KServe looks for."""
    names = [each["name"] for each in isvc.containers]
    if len(names) > 1 and MODEL not in names:
        yield f"no container is called {MODEL}; KServe's controller crashes without it"
    elif len(names) > 1 and names[0] != MODEL:
        yield f"the first container is {names[0]}; KServe overwrites it, so {MODEL} has to be there"


def model_serves(isvc: Isvc) -> Iterator[str]:
    """The port is the model's: queue-proxy sends requests to the container that has it."""
    for container in isvc.others:
        if container.get("ports"):
            yield f"{container['name']} has the port that requests go to; it belongs to {isvc.containers[0]['name']}"


def model_finds_the_sidecar(isvc: Isvc) -> Iterator[str]:
    """EVENTGATE_URL leads to where the sidecar listens."""
    if isvc.sidecar is None:
        return
    url = variable(isvc.containers[0], "EVENTGATE_URL")
    expected = f"http://{variable(isvc.sidecar, 'SIDECAR_LISTEN')}/v1/events"
    if url != expected:
        yield f"EVENTGATE_URL is {url or 'not set'}; the sidecar takes events at {expected}"


def sidecar_knows_its_isvc(isvc: Isvc) -> Iterator[str]:
    """SIDECAR_LABELS say env, and this InferenceService."""
    if isvc.sidecar is None:
        return
    labels = dict(each.split("=") for each in variable(isvc.sidecar, "SIDECAR_LABELS").split(",") if each)
    if not labels.get("env"):
        yield "SIDECAR_LABELS say no env, which routes ask for"
    if labels.get("isvc") != isvc.name:
        yield f"SIDECAR_LABELS say isvc={labels.get('isvc', '')}, and this is {isvc.name}"


def free_ports(isvc: Isvc) -> Iterator[str]:
    """Nothing else in the pod listens where the sidecar does; nobody checks ports that are not declared."""
    taken = {8008, 8012, 8013, 8022, 8080, 8081, 8112, 9081, 9088, 9090, 9091, *range(15000, 15091)}
    taken |= {port["containerPort"] for each in isvc.containers for port in each.get("ports") or []}
    for name in ("SIDECAR_LISTEN", "SIDECAR_ADMIN") if isvc.sidecar else ():
        if (port := port_of(isvc.sidecar or {}, name)) in taken:
            yield f"{name} has port {port}, which is taken in the pod"


def only_the_pod_posts(isvc: Isvc) -> Iterator[str]:
    """Events are taken on loopback only, and metrics can be read from outside."""
    if isvc.sidecar is None:
        return
    if not (listen := variable(isvc.sidecar, "SIDECAR_LISTEN")).startswith("127.0.0.1:"):
        yield f"SIDECAR_LISTEN is {listen}; outside the pod nobody may post, so 127.0.0.1"
    if (admin := variable(isvc.sidecar, "SIDECAR_ADMIN")).startswith("127."):
        yield f"SIDECAR_ADMIN is {admin}; Prometheus comes to the pod's address, so 0.0.0.0"


RULES = (
    model_first, model_serves, model_finds_the_sidecar, sidecar_knows_its_isvc, free_ports, only_the_pod_posts,
)  # fmt: skip
