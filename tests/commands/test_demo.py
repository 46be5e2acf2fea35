"""The demo as a process: its result, its output, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

SECONDS = 60
"""Far longer than any of this takes; a demo that hangs fails instead of hanging the tests."""


@contextlib.asynccontextmanager
async def demo(folder: Path, *flags: str) -> AsyncIterator[Process]:
    """Run the demo with its temporary files in `folder`; kill it at the end of the block."""
    environment = {**os.environ, "TMPDIR": str(folder), "SIDECAR_LABELS": "env=production"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "demo", *flags), stdin=DEVNULL, stdout=PIPE, env=environment
    )
    try:
        async with asyncio.timeout(SECONDS):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def lines_until(process: Process, start: str) -> list[str]:
    """Read the demo's lines up to one that starts with this."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith(start):
        line = await process.stdout.readline()
        assert line, lines
        lines.append(line.decode().rstrip())
    return lines


def left_behind(folder: Path) -> list[str]:
    """Return remaining files and processes of a demo."""
    left = [str(path) for path in folder.iterdir()]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_text().replace("\0", " ")
            left += [command] if str(folder) in command else []
    return left


def way_of(summary: dict[str, Any], stream: str, wrong: str = "") -> dict[str, Any]:
    """Return one kind of event from a summary."""
    (way,) = [way for way in summary["ways"] if (way["stream"], way["wrong"]) == (stream, wrong)]
    return dict(way)


async def test_every_event_arrives_where_routes_yaml_says(tmp_path: Path) -> None:
    """A staging score arrives in production's testing stream, an outlink score in staging under its own name.

    A bad event arrives nowhere. The demo exits 0 and leaves nothing behind.
    """
    async with demo(tmp_path, "--json") as process:
        output, _ = await process.communicate()
    summary = json.loads(output)
    assert process.returncode == 0
    assert summary["ok"]
    assert summary["problems"] == []

    events = summary["events"]
    assert events["sent"] >= 200
    assert events["arrived"] == events["delivered"] == events["sent"] - events["invalid"] - events["failed"]
    assert [events[kind] for kind in ("lost", "doubled", "misplaced", "changed")] == [0, 0, 0, 0]
    assert events["in_production_streams"] == 0

    score = way_of(summary, "mediawiki.revision_score_drafttopic")
    assert score["arrived"] == [
        {
            "gate": "production",
            "upstream": "production",
            "stream": "mediawiki.revision-score-test",
            "topic": "eqiad.mediawiki.revision-score-test",
            "events": score["sent"],
        }
    ]
    for stream in (
        "mediawiki.page_outlink_topic_prediction_change.v1",
        "mediawiki.cirrussearch.page_weighted_tags_change.v1",
    ):
        arrived = way_of(summary, stream)["arrived"]
        assert {(place["upstream"], place["stream"], place["topic"]) for place in arrived} == {
            ("staging", stream, f"staging.{stream}")
        }
    invalid = way_of(summary, "mediawiki.revision_score_damaging", "its prediction is not a list")
    assert invalid["arrived"] == []
    assert {answer[:3] for answer in invalid["answers"]} == {"400"}
    assert (set(invalid["outcomes"]), events["invalid"], events["failed"] > 0) == ({"invalid"}, invalid["sent"], True)

    hang = summary["hang"]
    assert hang["datacenter"] == "eqiad"
    assert min(hang["events"], hang["elsewhere"]) > 0
    assert hang["worst_ms"] < 1500  # the attempt at the hanging one alone would have taken so long

    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert left_behind(tmp_path) == []


async def test_with_keep_it_stays_until_it_is_told_to_end(tmp_path: Path) -> None:
    """`--keep` tells in plain 80 columns what went where, then takes events until Ctrl-C, and exits 0.

    By then a new sidecar runs. Its page says that all is well, and names the datacenter.
    """
    async with demo(tmp_path, "--keep") as process:
        shown = await lines_until(process, "Everything keeps running")
        (url,) = re.findall(r"^  sidecar +(http:\S+)", "\n".join(shown), re.MULTILINE)
        async with httpx.AsyncClient() as client:
            page = await client.get(f"{url}/_sidecar/status")
            answer = await client.post(f"{url}/v1/events", json={"meta": {"stream": "s"}})
        process.send_signal(signal.SIGINT)
        commands, _ = await process.communicate()
    assert "✓ All well: production, staging → eqiad" in page.text
    assert answer.headers["x-eventgate-sidecar"].startswith("failed; upstream=staging")
    assert [line for line in shown if len(line) > 80 or "\x1b" in line] == []
    assert any("0 lost" in line for line in shown)
    assert f"{url}/v1/events" in commands.decode()
    assert process.returncode == 0
    assert left_behind(tmp_path) == []


async def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    """At any time, with exit status 130."""
    async with demo(tmp_path) as process:
        await lines_until(process, "  sidecar")
        assert left_behind(tmp_path) != []
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130
    assert left_behind(tmp_path) == []
