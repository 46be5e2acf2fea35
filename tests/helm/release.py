"""A rendered release as the rules look at it: InferenceServices, their containers, and the objects beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
SIDECAR = "eventgate-sidecar"


@dataclass(frozen=True)
class Isvc:
    """An InferenceService, and the release around it."""

    release: list[Object]
    """All objects of the release, this one too."""
    object: Object

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations, which its pods get."""
        return dict(self.object["metadata"].get("annotations") or {})

    @property
    def predictor(self) -> Object:
        """What KServe makes the pod of."""
        return dict(self.object["spec"]["predictor"])

    @property
    def containers(self) -> list[Object]:
        """The containers, in order."""
        return list(self.predictor["containers"])

    @property
    def sidecar(self) -> Object | None:
        """The sidecar, where there is one."""
        return next((each for each in self.containers if each["name"] == SIDECAR), None)

    @property
    def others(self) -> list[Object]:
        """The containers but the first."""
        return self.containers[1:]

    @property
    def volumes(self) -> list[Object]:
        """The volumes of the pod."""
        return list(self.predictor.get("volumes") or [])

    def beside(self, kind: str) -> list[Object]:
        """Return the release's objects of a kind."""
        return [each for each in self.release if each["kind"] == kind]


def isvcs(release: list[Object]) -> Iterator[Isvc]:
    """Yield the InferenceServices of a release."""
    for each in release:
        if each["kind"] == "InferenceService":
            yield Isvc(release, each)


def mounts(container: Object) -> list[Object]:
    """Return what the container mounts."""
    return list(container.get("volumeMounts") or [])


def variable(container: Object, name: str) -> str:
    """Return the value of a variable in the container's env; empty where it has none."""
    return next((str(each.get("value", "")) for each in container.get("env") or [] if each["name"] == name), "")


def port_of(container: Object, name: str) -> int:
    """Return the port of a variable like SIDECAR_LISTEN; 0 where it has none."""
    return int(variable(container, name).rpartition(":")[2] or 0)


def millicores(quantity: object) -> float:
    """Read 200m, 0.2 or 1."""
    text = str(quantity)
    return float(text[:-1]) if text.endswith("m") else 1000 * float(text)


def mebibytes(quantity: object) -> float:
    """Read 200Mi, 1Gi, 200M or 1G."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi|M|G)", str(quantity)).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024, "M": 1e6 / 2**20, "G": 1e9 / 2**20}[unit]


def seconds(text: str) -> int:
    """Read 60s or 2m."""
    return int(text[:-1]) * (60 if text.endswith("m") else 1)
