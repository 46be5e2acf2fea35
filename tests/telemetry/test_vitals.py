"""Promises of `vitals`: what alerts on the present state need is there, and costs nothing until it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from sidecar.telemetry.vitals import Vitals
from tests.fakes import FakeEventGate
from tests.running import sidecar, to_one


@dataclass
class Holding:
    """The counts of what is in flight."""

    in_flight: int = 0
    bytes_in_flight: int = 0


class Desk:
    """The vitals of a sidecar with one upstream in two datacenters, of which codfw is down."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        """Start with a new sidecar."""
        self.registry = CollectorRegistry()
        self.holding = Holding()
        self.endpoints = [("staging", "eqiad", True, True), ("staging", "codfw", False, False)]
        self.vitals = Vitals(self.registry, lambda: self.endpoints, self.holding, clock)

    def read(self, name: str, **labels: str) -> float | None:
        """Return one sample of a scrape."""
        return self.registry.get_sample_value(f"eventgate_sidecar_{name}", labels)


def test_an_endpoint_is_healthy_while_it_is_usable() -> None:
    """Only current endpoints are shown."""
    desk = Desk()
    assert desk.read("endpoint_healthy", upstream="staging", endpoint="eqiad") == 1.0
    assert desk.read("endpoint_healthy", upstream="staging", endpoint="codfw") == 0.0
    desk.endpoints = [("staging", "codfw", True, False)]
    assert desk.read("endpoint_healthy", upstream="staging", endpoint="codfw") == 1.0
    assert desk.read("endpoint_healthy", upstream="staging", endpoint="eqiad") is None


def test_a_name_without_an_answer_is_shown() -> None:
    """Even while its last known addresses are in use: a restart would need an answer."""
    desk = Desk()
    assert desk.read("endpoint_dns_failing", upstream="staging", endpoint="eqiad") == 1.0
    assert desk.read("endpoint_dns_failing", upstream="staging", endpoint="codfw") == 0.0


def test_what_is_in_flight_is_read_at_the_scrape() -> None:
    """The numbers are current."""
    desk = Desk()
    desk.holding.in_flight, desk.holding.bytes_in_flight = 3, 4096
    assert (desk.read("requests_in_flight"), desk.read("bytes_in_flight")) == (3.0, 4096.0)


@pytest.mark.looptime
async def test_the_lag_is_the_worst_since_the_last_scrape() -> None:
    """A stall between two scrapes shows in the next one only."""
    times = iter([10.0, 10.5, 11.25, 11.5, 12.0])
    desk = Desk(lambda: next(times))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(desk.vitals.run())
        await asyncio.sleep(1.6)
        assert desk.read("event_loop_lag_seconds") == 0.25
        await asyncio.sleep(0.5)
        assert desk.read("event_loop_lag_seconds") == 0.0
        running.cancel()


def test_the_process_is_described() -> None:
    """Its start time and memory have our prefix, since other containers of the pod expose theirs."""
    desk = Desk()
    assert desk.read("process_start_time_seconds")
    assert desk.read("process_resident_memory_bytes")


async def test_a_running_sidecar_has_vitals(tmp_path: Path) -> None:
    """Its endpoint's health is shown and followed."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:
        shown = await running.metrics("eventgate_sidecar_endpoint_healthy")
        assert list(shown) == [f'{{endpoint="{gate.address}",upstream="main"}}']
        assert b"\neventgate_sidecar_requests_in_flight 0.0\n" in (await running.get("/metrics")).body


@pytest.mark.parametrize(
    ("settings", "shown"),
    [({}, ["main"]), ({"gateway": True, "hand_over_from": "10.0.0.0/8"}, ["main", "others"])],
    ids=["sidecar", "gateway"],
)
async def test_an_upstream_without_events_of_this_pod_wakes_nobody(
    tmp_path: Path, settings: Any, shown: list[str]
) -> None:
    """The alert goes by the endpoints to which events may go: not by those of copies, or of other pods' routes.

    The pods that hand over to a gateway have labels of their own.
    """
    nowhere = {"url": "http://127.0.0.1:1/v1/events"}
    async with FakeEventGate() as gate:
        file: Any = to_one(gate.address)
        file["upstreams"] |= {"copies": nowhere, "others": nowhere}
        file["routes"].insert(0, {"name": "others", "match": {"labels": {"env": "other"}}, "to": "others"})
        file["routes"][1]["mirror"] = {"to": "copies"}
        async with sidecar(file, tmp_path, **settings) as running:
            found = await running.metrics("eventgate_sidecar_endpoint_healthy")
            assert sorted(each.split('upstream="')[1].rstrip('"}') for each in found) == shown
