"""A real Prometheus scrapes a running sidecar, and loads every alert rule and dashboard query."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.end_to_end.conftest import written
from tests.end_to_end.load import an_event
from tests.end_to_end.processes import Emulator, ask, sidecar
from tests.fakes import eventually
from tests.project.test_monitoring import MONITORING, QUERIES, ROOT, RULES
from tests.running import to_one

JSON = {"content-type": "application/json"}
PROMETHEUS = ROOT / ".tools" / "prometheus" / "usr" / "bin" / "prometheus"


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        """It may still be starting."""
        self.address = address

    def get(self, target: str) -> Any:
        """Return what its API says, or None while it does not answer."""
        try:
            return json.loads(ask(self.address, "GET", f"/api/v1/{target}").body)
        except (ConnectionError, ValueError):
            return None

    def query(self, text: str) -> list[Any]:
        """Return the samples that it finds now; none while it is not ready."""
        said = self.get(f"query?query={quote(text)}")
        if said is None or said["status"] == "error":
            assert said is None or said["errorType"] == "unavailable", said
            return []
        return list(said["data"]["result"])


@pytest.fixture
def scraped(tmp_path: Path, eventgate: Emulator) -> Iterator[Prometheus]:
    """Run a sidecar with a spool that has delivered an event, and a Prometheus that scrapes it each second."""
    if not PROMETHEUS.exists():
        pytest.skip("THE DASHBOARD IS NOT TESTED: there is no Prometheus; scripts/promtool gets it on Debian")
    with sidecar(written(to_one(eventgate.address), tmp_path), "--spool", str(tmp_path / "spool")) as running:
        assert ask(running.address, "POST", "/v1/events", an_event("a", "score"), JSON).status == 201
        with _prometheus(tmp_path, running.admin) as prometheus:
            yield prometheus


@contextlib.contextmanager
def _prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "alerts.yaml")],
        "scrape_configs": [{"job_name": "sidecars", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        str(PROMETHEUS),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield Prometheus(address)
        finally:
            process.kill()


async def test_prometheus_takes_all_queries_and_alerts(scraped: Prometheus) -> None:
    """No query has an error, every rule is evaluated, and a healthy sidecar fires no alert."""
    await eventually(lambda: scraped.get("status/runtimeinfo") is not None)
    await eventually(lambda: bool(scraped.query("up")))  # it takes up its targets after 5 s
    await eventually(lambda: bool(scraped.query("count_over_time(eventgate_sidecar_info[1m]) > 1")))
    for text in QUERIES:
        scraped.query(re.sub(r"\$(job|instance)", ".*", text).replace("$__rate_interval", "5s"))
    await eventually(lambda: all(rule["health"] == "ok" for rule in rules(scraped)))
    assert {rule["name"] for rule in rules(scraped)} == {rule["alert"] for rule in RULES}
    assert [rule["name"] for rule in rules(scraped) if rule["state"] != "inactive"] == []
    assert [each["value"][1] for each in scraped.query("eventgate_sidecar_endpoint_healthy")] == ["1"]
    assert [each["value"][1] for each in scraped.query("eventgate_sidecar_spool_usable")] == ["1"]


def rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    """Return the rules with how each stands."""
    return list(prometheus.get("rules")["data"]["groups"][0]["rules"])
