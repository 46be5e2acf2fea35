"""The gateway as its chart renders it, beside the pod: a container of the same image with a persistent volume."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.helm.engine import CHARTS, ROOT, Object, rendered
from tests.pod.image import IMAGE
from tests.pod.manifests import TAG
from tests.pod.podman import Podman

NAME = "main-gateway"
PORT, METRICS = 8888, 9102
HOST = "gateway.gateways.svc.cluster.local"
VALUES = {
    "image": IMAGE,
    "version": TAG,
    "imagePullPolicy": "Never",
    "labels": {"env": "production"},
    "routes": (ROOT / "routes.yaml").read_text(),
    "hand_over_from": ["10.0.0.0/8"],
}
ASK = """
import sys, time, urllib.request
url, name, wanted = sys.argv[1:]
for _ in range(200):
    lines = urllib.request.urlopen(url, timeout=5).read().decode().splitlines()
    found = next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " "))
    if wanted in ("", str(found)):
        break
    time.sleep(0.3)
print(found)
"""


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    podman: Podman
    address: str

    def log(self) -> str:
        """Return its output."""
        return self.podman("logs", f"{NAME}-gateway")

    def gauge(self, name: str, wanted: float | None = None) -> float:
        """Return the value of a metric without labels; wait up to a minute until it is as wanted."""
        url, value = f"http://{self.address}:{METRICS}/metrics", "" if wanted is None else str(float(wanted))
        return float(self.podman.run(*self.podman.inside(), sys.executable, "-c", ASK, url, name, value))


@contextlib.contextmanager
def gateway(podman: Podman, folder: Path, hosts: dict[str, str], ca_file: Path) -> Iterator[Gateway]:
    """Run it for the duration of the block."""
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump_all(_objects(hosts, ca_file)))
    podman("kube", "play", str(file))
    try:
        infra = podman("pod", "inspect", "--format", "{{.InfraContainerID}}", NAME)
        networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        running = Gateway(podman, podman("container", "inspect", "--format", networks, infra))
        _wait_until_ready(running)
        yield running
    finally:
        podman("pod", "rm", "-f", "-t", "0", NAME)
        podman("volume", "prune", "-f")


def _wait_until_ready(gateway: Gateway) -> None:
    podman, url = gateway.podman, f"http://{gateway.address}:{METRICS}/readyz"
    code = f"import time\nfor _ in range(100):\n  try:\n    urlopen({url!r}); break\n  except OSError: time.sleep(.1)"
    podman.run(*podman.inside(), sys.executable, "-c", f"from urllib.request import urlopen\n{code}")


def _objects(hosts: dict[str, str], ca_file: Path) -> list[Object]:
    objects = rendered(VALUES, CHARTS / "gateway")
    stateful = next(each for each in objects if each["kind"] == "StatefulSet")["spec"]
    (container,) = stateful["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):  # podman would need curl in the image for it
        del container[probe]
    del container["ports"]
    container["volumeMounts"].append({"name": "authority", "mountPath": "/etc/ssl/certs", "readOnly": True})
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "spool", "annotations": {"volume.podman.io/uid": "900", "volume.podman.io/gid": "900"}},
        "spec": stateful["volumeClaimTemplates"][0]["spec"],
    }
    authority = {"wmf-ca-certificates.crt": ca_file.read_text()}
    spec = stateful["template"]["spec"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME},
        "spec": {
            "restartPolicy": "OnFailure",
            "hostAliases": [{"ip": address, "hostnames": [name]} for name, address in hosts.items()],
            "containers": [container],
            "securityContext": {
                key: spec["securityContext"][key] for key in ("runAsUser", "runAsGroup", "runAsNonRoot")
            },
            "volumes": [
                *spec["volumes"],
                {"name": "spool", "persistentVolumeClaim": {"claimName": "spool"}},
                {"name": "authority", "configMap": {"name": "gateway-authority"}},
            ],
        },
    }
    maps = [each for each in objects if each["kind"] == "ConfigMap"]
    maps.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gateway-authority"}, "data": authority})
    return json.loads(json.dumps([*maps, claim, pod]))  # type: ignore[no-any-return]
