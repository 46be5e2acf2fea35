"""A pod is deleted with its disk: its spool is on a gateway, and arrives once."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.conftest import QUICK_CHECKS, written
from tests.end_to_end.load import an_event
from tests.end_to_end.processes import Emulator, Json, sidecar
from tests.end_to_end.test_spool import logged, told, told_it_stops
from tests.end_to_end.test_stopping import serve, status
from tests.fakes import FakeEventGate, answer, connected, eventually, refusing
from tests.running import to_one

HANDED = ("--gateway", "--hand-over-from", "127.0.0.0/8", "--label", "env=production")
HOLD = "eventgate_sidecar_spool_events"


def rules(gate: str) -> Json:
    """Return rules under which staging's scores are renamed, and the upstream takes no others of staging's."""
    config: Json = to_one(gate, **QUICK_CHECKS)
    config["upstreams"]["main"]["accepts"] = [{"labels": {"env": "production"}}, {"stream": "*-test"}]
    match = {"labels": {"env": "staging"}, "stream": "score"}
    config["routes"] = [{"name": "staging", "match": match, "to": "main", "stream": "score-test"}, *config["routes"]]
    return config


async def test_a_pod_that_is_deleted_with_its_disk_loses_nothing(tmp_path: Path, eventgate: Emulator) -> None:
    """1,000 events answered 202 while EventGate is down arrive once, routed by their pod's labels."""
    eventgate.forget()
    eventgate.fault("refuse")
    routes = written(rules(eventgate.address), tmp_path)
    with sidecar(routes, "--spool", str(tmp_path / "gateway"), *HANDED) as gateway:
        url = f"http://{gateway.address}/v1/events"
        words = ("--spool", str(tmp_path / "pod"), "--drain", "2s", "--hand-over", url, "--label", "env=staging")
        with sidecar(routes, *words) as pod:
            async with connected(pod.address) as client:
                for first in range(0, 1000, 50):
                    events = b",".join(an_event(f"e{number}", "score") for number in range(first, first + 50))
                    assert (await client.post(b"[%b]" % events)).status == 202
            assert await told(pod, "secret", "other") == 400
            await told_it_stops(pod)
            assert (await status(pod), logged(pod, "SpoolLeft")) == (0, [])
        shutil.rmtree(tmp_path / "pod")
        taken = gateway.gauge("eventgate_sidecar_spool_taken_over_events_total")
        assert (taken, gateway.gauge(HOLD)) == (1000, 1000)
        eventgate.fault("none")
        await eventually(lambda: len(eventgate.kept) >= 1000)
        await eventually(lambda: gateway.gauge(HOLD) == 0)
    arrived = Counter((kept["stream"], kept["event"]["meta"]["id"]) for kept in eventgate.kept)
    assert arrived == Counter(("score-test", f"e{number}") for number in range(1000))


async def test_a_gateway_that_is_none_gets_nothing_and_deletes_nothing(tmp_path: Path) -> None:
    """An EventGate in place of the gateway reads no event, and its answer deletes none."""
    async with FakeEventGate(otherwise=answer(201)) as other:
        with refusing() as nobody:
            spool, url = tmp_path / "spool", f"http://{other.address}/v1/events"
            routes = written(to_one(nobody), tmp_path)
            with sidecar(routes, "--spool", str(spool), "--drain", "500ms", "--hand-over", url) as running:
                assert await told(running, "a") == 202
                await told_it_stops(running)
                assert (await status(running), logged(running, "SpoolLeft")) == (0, [{"stream": "score", "count": 1}])
            assert logged(running, "HandedOver")[0]["result"] == "doubtful"
    assert {each.headers["content-type"] for each in other.requests} == {"application/vnd.eventgate-sidecar.spool"}


async def test_a_hand_over_from_anywhere_else_is_refused(tmp_path: Path) -> None:
    """Clients outside the configured networks are refused, and their labels are not trusted."""
    with refusing() as nobody:
        words = ("--spool", str(tmp_path / "spool"), "--gateway", "--hand-over-from", "10.0.0.0/8")
        with sidecar(written(to_one(nobody), tmp_path), *words) as gateway:
            async with connected(gateway.address) as client:
                kind = {"content_type": "application/vnd.eventgate-sidecar.spool"}
                told_no = await client.post(b"{}", **kind)
                labelled = await client.post(an_event("a", "score"), **{"x-eventgate-sidecar-labels": "env=staging"})
    assert (told_no.status, labelled.status) == (403, 202)
    assert "is in no network of --hand-over-from" in json.loads(told_no.body)["detail"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "0.0.0.0:0"), "is open to other machines, and a sidecar serves its own pod alone"),
        (("--gateway",), "--gateway needs a spool"),
        (("--hand-over", "http://gateway:8888/v1/events"), "--hand-over needs a spool"),
        (("--hand-over", "gateway:8888"), "write the full URL"),
        (("--hand-over-from", "10.0.0.0/8"), "add --gateway"),
        (("--gateway", "--hand-over", "http://gateway:8888/v1/events"), "two gateways could hand events back"),
        (("--gateway", "--spool", "/tmp/x", "--hand-over-from", "10.0.0.1/8"), "has host bits set"),
    ],
)
async def test_settings_that_do_not_go_together_are_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """Before the start, if they would open a pod to others, hand over nothing, or hand over in circles."""
    with refusing() as nobody:
        ended = await asyncio.to_thread(serve, "--routes", str(written(to_one(nobody), tmp_path)), *words)
    assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
