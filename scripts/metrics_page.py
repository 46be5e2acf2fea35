#!/usr/bin/env python3
"""Writes the table of docs/metrics.md from what a sidecar registers."""

from __future__ import annotations

import io
import re
import sys
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, Metric

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package of this folder, installed or not

from sidecar.delivery.mirror import CopyResult  # noqa: E402
from sidecar.eventgate.failures import FailureClass  # noqa: E402
from sidecar.events.results import Outcome  # noqa: E402
from sidecar.serve.spanexport import SpanCounts  # noqa: E402
from sidecar.spool.policy import Fate  # noqa: E402
from sidecar.spool.store import Cause, Kept  # noqa: E402
from sidecar.telemetry.happenings import Happening  # noqa: E402
from sidecar.telemetry.log import make_log  # noqa: E402
from sidecar.telemetry.metrics import NO_ROUTE, OTHER_STREAM  # noqa: E402
from sidecar.telemetry.telemetry import Telemetry  # noqa: E402
from sidecar.telemetry.vitals import Vitals  # noqa: E402
from sidecar.upstreams.health import Health  # noqa: E402

PAGE = ROOT / "docs" / "metrics.md"
TABLE = re.compile(r"(<!-- table: written by scripts/docs -->\n).*?(<!-- end of table -->)", re.DOTALL)
MADE_UP: dict[type, object] = {str: "word", int: 1, float: 0.5, bool: True}


def in_code(values: Iterable[object]) -> str:
    """Return the values one by one, each as code."""
    return ", ".join(f"`{value}`" for value in values)


LABELS = {
    "upstream": "the upstreams of `routes.yaml`",
    "endpoint": "the upstream's datacenters, or its host and port where it has none",
    "route": f"the routes of `routes.yaml`, `{NO_ROUTE}` for what none took",
    "stream": f"the streams that `routes.yaml` names, `{OTHER_STREAM}` for all others",
    "outcome": in_code(Outcome),
    "status": "the HTTP statuses of answers",
    "health": in_code(Health),
    "version": "the sidecar's version",
    "directory": "that of `--spool`",
    "why": in_code(kept for kept in Kept if kept is not Kept.STORED),
    "cause": in_code(typing.get_args(Cause)),
    "eventgate_sidecar_posts_total result": in_code(["answered", *FailureClass]),
    "eventgate_sidecar_mirrored_events_total result": in_code(typing.get_args(CopyResult)),
    "eventgate_sidecar_health_checks_total result": in_code(["passed", "failed"]),
    "eventgate_sidecar_ca_file_loads_total result": in_code(["applied", "refused"]),
    "eventgate_sidecar_config_loads_total result": in_code(["applied", "refused"]),
    "eventgate_sidecar_spans_total result": in_code(["exported", "failed", "dropped"]),
    "eventgate_sidecar_spool_handed_over_events_total result": in_code(["taken", "refused", "doubtful"]),
    "eventgate_sidecar_spool_replayed_events_total result": in_code(fate.value for fate in Fate),
}
"""What a label can be; one whose values depend on the metric has the metric before it."""


class NothingHeld:
    """A sidecar that answers no request."""

    in_flight = bytes_in_flight = 0


def full_registry() -> CollectorRegistry:
    """Return the registry of a sidecar in which everything happened once, so that each metric has its labels."""
    telemetry = Telemetry((), make_log(io.StringIO()))
    Vitals(telemetry.registry, lambda: [("production", "eqiad", True, False)], NothingHeld())
    telemetry.registry.register(SpanCounts())
    for kind in Happening.__subclasses__():
        hints = typing.get_type_hints(kind)
        telemetry.emit(kind(**{field.name: MADE_UP[hints[field.name]] for field in msgspec.structs.fields(kind)}))
    return telemetry.registry


def name_of(metric: Metric) -> str:
    """Return the name by which queries ask for it; a histogram has several, which begin with this."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def labels_of(metric: Metric) -> list[str]:
    """Return the names of its labels, without the bounds of a histogram's buckets."""
    return list(dict.fromkeys(label for sample in metric.samples for label in sample.labels if label != "le"))


def table() -> Iterator[str]:
    """Yield the table's lines."""
    yield "| metric | type | labels | meaning |"
    yield "| --- | --- | --- | --- |"
    for metric in sorted(full_registry().collect(), key=lambda each: each.name):
        name = name_of(metric)
        labels = [f"`{label}`: {LABELS.get(label) or LABELS[f'{name} {label}']}" for label in labels_of(metric)]
        yield f"| `{name}` | {metric.type} | {'<br>'.join(labels)} | {metric.documentation} |"


def renewed(page: str) -> str:
    """Return the page with its table regenerated."""
    page, times = TABLE.subn(lambda found: found[1] + "\n".join(table()) + "\n" + found[2], page)
    if times != 1:
        raise SystemExit(f"{PAGE.name} should have one place for the table, and has {times}")
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
