"""Shows the findings: on the terminal, in docs/reliability.md and in its picture."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.install import painter
from tests.longrun import words
from tests.longrun.findings import (
    FILES_SLACK,
    HURT_SHARE,
    MEMORY_GROWTH,
    MEMORY_SLACK,
    P50_FACTOR,
    P99_FACTOR,
    Findings,
    Latency,
    misses,
    percentile,
)
from tests.longrun.records import Records

DRAW_SECONDS = 120
MINUTE = 60.0


def in_text(records: Records, findings: Findings) -> str:
    """Return the text for a terminal: the numbers, and below them each failed check."""
    rows = list(_numbers(records, findings))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name.ljust(width)}  {value}" for name, value in rows]
    lines += [f"NOT HELD  {each}" for each in misses(findings)] or ["all held"]
    lines.append(f"to repeat it: make long-run ARGS='{_arguments(records)}'")
    return "\n".join(lines) + "\n"


def write(path: Path, records: Records, findings: Findings) -> str:
    """Write the page and its picture; return why there is no picture, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(in_markdown(records, findings, path.with_suffix(".png").name), encoding="utf-8")
    python, why = asyncio.run(painter(may_install=True))
    if python is None:
        return why
    command = [str(python), str(Path(__file__).with_name("picture.py")), str(path.with_suffix(".png"))]
    subprocess.run(command, input=json.dumps(drawing(records, findings)), text=True, check=True, timeout=DRAW_SECONDS)
    return ""


def in_markdown(records: Records, findings: Findings, picture: str) -> str:
    """Return docs/reliability.md."""
    schedule = records.schedule
    today = dt.datetime.fromtimestamp(records.lives[-1].log.stat().st_mtime, dt.UTC).date()
    known = {"minutes": f"{schedule.seconds / MINUTE:g}", "seed": schedule.seed, "arguments": _arguments(records)}
    counts = {
        "kills": _told(Counter(each.signal for each in schedule.kills)),
        "faults": len(records.troubles),
        "kinds": len({each.name for each in records.troubles}),
        "edits": _told(Counter(each.kind for each in schedule.edits)),
        "cores": len(os.sched_getaffinity(0)),
        "second": f"{schedule.second_act / MINUTE:.1f}",
        "today": today,
        "tolerance": (
            f"{MEMORY_GROWTH:.0%} and {MEMORY_SLACK >> 20} MiB more memory at the end, {FILES_SLACK} more open files,"
            f" p50 {P50_FACTOR:g} and p99 {P99_FACTOR:g} times\nas long at the same load, and {HURT_SHARE:.0%} of the"
            " requests answered late or with a 503; CI machines are not quiet"
        ),
    }
    lines = [words.INTRODUCTION.format(picture=picture, **known, **counts), "", "## What was found", ""]
    missed = misses(findings)
    lines += [f"- **Not held:** {each}." for each in missed] or ["Every check passed."]
    lines += ["", "| what | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in _numbers(records, findings)]
    lines += ["", words.LATENCIES, "", *_latencies(findings), ""]
    lines += [words.MINUTES, "", *_minutes(findings), "", words.LIMITS.format(**known), ""]
    return "\n".join(lines)


def drawing(records: Records, findings: Findings) -> Mapping[str, object]:
    """Return the data of the picture; times in minutes from the first event on."""
    posted, spooled = Counter[int](), Counter[int]()
    for each in records.requests:
        second = int(each.sent - records.begun)
        posted[second] += each.count
        spooled[second] += each.events if each.words == "spooled" else 0
    waiting = [(each.began, each.total("eventgate_sidecar_spool_events")) for each in records.samples if each.metrics]
    memory = [(each.began, each.memory / 1e6) for each in records.samples]
    files = [(each.began, float(each.files)) for each in records.samples]
    producers = [(each.began, float(each.producers)) for each in records.samples]
    minutes = [(place + 0.5, each) for place, each in enumerate(findings.minutes) if each]
    return {
        "minutes": records.schedule.seconds / MINUTE,
        "panels": [
            _panel("events per second", 1.2, _line("posted", _seconds(posted)), _line("spooled", _seconds(spooled))),
            _panel(
                "ms, outside of faults",
                1.0,
                _line("p50 of a minute", [(at, each.p50 * 1000) for at, each in minutes], dots=True),
                _line("p99", [(at, each.p99 * 1000) for at, each in minutes], dots=True),
                log=True,
            ),
            _panel("events in the spool", 1.0, _line("waiting", _at(records, waiting))),
            _panel("memory, MB", 1.0, _line("resident", _at(records, memory))),
            _panel(
                "descriptors",
                1.0,
                _line("open files and sockets", _at(records, files)),
                _line("connections of producers", _at(records, producers)),
            ),
        ],
        "faults": [[_minute(records, each.began), _minute(records, each.ended)] for each in records.troubles],
        "kills": [[_minute(records, each.told), each.signal] for each in records.lives[:-1]],
        "edits": [[each.at / MINUTE, each.kind] for each in records.schedule.edits],
    }


Point = tuple[float, float]


def _panel(name: str, height: float, *lines: Mapping[str, object], log: bool = False) -> Mapping[str, object]:
    return {"name": name, "height": height, "lines": lines, "log": log}


def _line(name: str, points: Sequence[Point], *, dots: bool = False) -> Mapping[str, object]:
    return {"name": name, "points": points, "dots": dots}


def _minute(records: Records, at: float) -> float:
    return (at - records.begun) / MINUTE


def _at(records: Records, points: Sequence[Point]) -> list[Point]:
    return [(_minute(records, at), value) for at, value in points]


def _seconds(counts: Mapping[int, int]) -> list[Point]:
    return [(second / MINUTE, counts.get(second, 0)) for second in range(max(counts, default=0) + 1)]


def _arguments(records: Records) -> str:
    return f"--minutes {records.schedule.seconds / MINUTE:g} --seed {records.schedule.seed}"


def _numbers(records: Records, findings: Findings) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table."""
    fates = Counter[str]()
    for kind_and_fate, count in findings.fates.items():
        fates[kind_and_fate.partition(" ")[2]] += count
    lags = sorted(each.lag for each in records.requests)
    share = {name: seconds / records.schedule.seconds for name, seconds in records.processor.items()}
    spooled = sum(each.events for each in records.requests if each.words == "spooled")
    yield "events posted", f"{findings.posted:,}, in {sum(fates.values()):,} requests"
    yield "answered 2xx", f"{findings.promised:,} events; {spooled:,} of them spooled"
    yield "lost, of these", str(len(findings.lost))
    yield "arrived more than once", f"{findings.doubled:,}"
    yield "dead letters", f"{findings.dead}, invalid ones that were spooled; {len(findings.dead_valid)} others"
    yield "in the spool at the end", str(findings.left)
    yield "requests by status", _told(fates)
    yield "requests answered late, wrongly or not at all while a sidecar was running", _told(findings.hurt) or "0"
    yield "requests without an answer because of a kill or restart", _told(findings.killed) or "0"
    checks = f"{findings.sums.checked:,} times, {findings.sums.exact:,} of them for equality"
    yield "checks of the sum of outcomes", f"{checks}; {len(findings.sums.wrong)} wrong"
    logged = Counter(records.logged)
    memory, files = findings.memory, findings.files
    yield "memory of the last sidecar, first and last third", f"{memory.first / 1e6:.1f} MB, {memory.last / 1e6:.1f} MB"
    yield "open files and sockets of the last sidecar, first and last third", f"{files.first:g}, {files.last:g}"
    yield "sidecars started", f"{len(records.lives)}; {len(findings.ill_ends)} exited otherwise than told"
    yield "routes.yaml", f"{logged['ConfigLoaded']} times loaded, {logged['ConfigRefused']} times refused"
    yield "tracebacks in the log", str(len(findings.complaints))
    yield "times that the disk did not respond for a second", str(logged["SpoolBroken"])
    if lags:
        last = percentile(lags, 0.99)
        yield "delay of the producers themselves", f"p99 {last * 1000:.0f} ms, at most {lags[-1] * 1000:.0f} ms"
    load = ", ".join(f"{each:.1f}" for each in records.machine_load)
    cores = len(os.sched_getaffinity(0))
    yield "load average at the end, over 1, 5 and 15 minutes", f"{load}, on {cores} cores"
    yield "CPU use, of one core", ", ".join(f"{name} {each:.0%}" for name, each in share.items())


def _latencies(findings: Findings) -> Iterator[str]:
    yield "| events a second | first third: p50, p99 | last third: p50, p99 |"
    yield "| ---: | ---: | ---: |"
    for rate, (first, last) in findings.latency.items():
        yield f"| {rate} | {_times(first)} | {_times(last)} |"


def _minutes(findings: Findings) -> Iterator[str]:
    yield "| minute | answers | p50 | p99 |"
    yield "| ---: | ---: | ---: | ---: |"
    for minute, each in enumerate(findings.minutes, 1):
        if each:
            yield f"| {minute} | {each.count:,} | {each.p50 * 1000:.1f} ms | {each.p99 * 1000:.1f} ms |"


def _times(latency: Latency | None) -> str:
    return f"{latency.p50 * 1000:.1f} ms, {latency.p99 * 1000:.1f} ms" if latency else "too few"


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} × {name}" for name, count in sorted(counts.items()))
