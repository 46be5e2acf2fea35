"""Turns the rendered chart into a Pod for podman: the predictor of an InferenceService."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.helm.engine import HERE, ROOT, Object, overlaid, rendered, values_of
from tests.helm.release import SIDECAR, Isvc, isvcs
from tests.pod.image import IMAGE

MODEL = "kserve-container"
ISVC = "outlink-topic-model"
TAG = "1"
SIDECAR_VALUES = {
    "image": IMAGE,
    "version": TAG,
    "labels": {"env": "staging"},
    "routes": (ROOT / "routes.yaml").read_text(),
    "resources": {"requests": {"memory": "100Mi"}, "limits": {"cpu": "200m", "memory": "100Mi"}},
}
"""Resources for which the bars hold: a fifth of a core, and 100 MiB."""


def release(**sidecar: Any) -> list[Object]:
    """Render the outlink model in staging, with the shipped routes.yaml."""
    values = values_of(HERE / "values" / "outlink.yaml")
    own = overlaid(SIDECAR_VALUES, sidecar)
    return rendered(overlaid(values, {"docker": {"imagePullPolicy": "Never"}, "eventgate_sidecar": own}))


def written(path: Path, objects: list[Object], hosts: Mapping[str, str], ca_file: Path) -> Path:
    """Write a file for `podman kube play`.

    The model's container gets the emulated model server. The sidecar's gets the certificate authority of the emulated
    datacenters, at the path in routes.yaml. Everything else is as the chart renders it.
    """
    isvc = next(each for each in isvcs(objects) if each.name == ISVC)
    maps = [each for each in objects if each["kind"] == "ConfigMap"]
    maps += [
        _config_map("model", {"model.py": (ROOT / "tests" / "pod" / "model.py").read_text()}),
        _config_map("authority", {"wmf-ca-certificates.crt": ca_file.read_text()}),
    ]
    path.write_text(yaml.safe_dump_all([*maps, _pod(isvc, hosts)]))
    return path


def _pod(isvc: Isvc, hosts: Mapping[str, str]) -> Object:
    spec = copy.deepcopy(isvc.predictor)
    model, sidecar = spec["containers"]
    assert (model["name"], sidecar["name"]) == (MODEL, SIDECAR)
    # podman would publish the model's port, which nothing outside of the pod uses.
    del model["ports"]
    model.pop("resources", None)
    model |= {"image": f"{IMAGE}:{TAG}", "command": ["python", "-u", "/opt/model/model.py", "serve"]}
    model["volumeMounts"] = [{"name": "model", "mountPath": "/opt/model", "readOnly": True}]
    sidecar["volumeMounts"].append({"name": "authority", "mountPath": "/etc/ssl/certs", "readOnly": True})
    volumes = [*spec["volumes"], *({"name": each, "configMap": {"name": each}} for each in ("model", "authority"))]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": isvc.name},
        "spec": {
            "restartPolicy": "OnFailure",
            "hostAliases": [{"ip": address, "hostnames": [name]} for name, address in hosts.items()],
            "containers": [model, sidecar],
            "volumes": volumes,
            "securityContext": spec["securityContext"],
        },
    }


def _config_map(name: str, data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
