"""The load: wrk with load.lua, and revision scores as Lift Wing's model servers make them."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from bench.cases import Case

LUA = Path(__file__).with_name("load.lua")
STREAM = "mediawiki.revision_score_drafttopic"
RENAMED = "mediawiki.revision-score-test"
ID = "@ID@"
NUMBER = "@N@"
"""Behind the stream, where there are several."""
UUID_LENGTH = 36
MARK = "RESULT "


class LoadError(Exception):
    """Wrk could not run, or said what nobody understands."""


@dataclass(frozen=True)
class Load:
    """What wrk counted in one run."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int
    """Answers that were not 2xx, and connections that broke."""


def event(kilobytes: int, stream: str = STREAM) -> str:
    """Make a revision score of so many thousand bytes, with two places for its id."""
    topics: dict[str, float] = {}
    made = _event(topics, stream)
    while len(made) + 2 * (UUID_LENGTH - len(ID)) < 1000 * kilobytes:
        topics[f"Culture.Media.Topic{len(topics):03}*"] = round(0.000123 * (len(topics) + 1), 6)
        made = _event(topics, stream)
    return made


def _event(topics: dict[str, float], stream: str) -> str:
    score = {"model_name": "drafttopic", "model_version": "0.5.1", "prediction": ["Culture.Media.Media*"]}
    return json.dumps(
        {
            "$schema": "/mediawiki/revision/score/3.0.0",
            "dt": "2026-01-02T03:04:05Z",
            "meta": {
                "stream": stream,
                "id": ID,
                "request_id": ID,
                "domain": "de.wikipedia.org",
                "uri": "https://de.wikipedia.org/wiki/Beispiel",
            },
            "database": "dewiki",
            "page_id": 4001,
            "page_title": "Beispiel",
            "page_namespace": 0,
            "page_is_redirect": False,
            "rev_id": 250000001,
            "rev_timestamp": "2026-01-02T03:04:05Z",
            "performer": {"user_text": "Example", "user_groups": ["*", "user"], "user_is_bot": False},
            "scores": {"drafttopic": {**score, "probability": {"Culture.Media.Media*": 0.5, **topics}}},
        }
    )


def parse(output: str) -> Load:
    """Read what load.lua wrote at the end."""
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    if len(lines) != 1:
        raise LoadError(f"wrk wrote no result: {output.strip()[-300:] or 'nothing at all'}")
    said = json.loads(lines[0].removeprefix(MARK))
    return Load(
        requests=said["requests"],
        seconds=said["microseconds"] / 1e6,
        p50_ms=said["p50"] / 1000,
        p99_ms=said["p99"] / 1000,
        failed=max(said["status"], said["others"]) + said["socket"],
    )


async def run(url: str, case: Case, seconds: float, folder: Path, *, status: int | None = None) -> Load:
    """Let wrk post to `url`; it takes whole seconds, and is killed where it does not end by itself.

    `status`: what every answer has to be; without it, any 2xx.
    """
    template = folder / f"event-{case.kilobytes}-{case.streams}.json"
    if not template.exists():
        template.write_text(event(case.kilobytes, STREAM if case.streams == 1 else STREAM + NUMBER))
    connection = "close" if case.close else "keep-alive"
    process = await asyncio.create_subprocess_exec(
        *(
            "wrk",
            "-t",
            "1",
            "-c",
            str(case.connections),
            "-d",
            f"{seconds:.0f}s",
            "--timeout",
            "10s",
            "-s",
            str(LUA),
            url,
        ),
        *("--", str(template), str(case.array), secrets.token_hex(4), connection, str(status or "any")),
        *("realistic" if case.realistic else "constant", str(case.streams)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds + 20):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise LoadError(f"wrk did not end within {seconds + 20:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return parse(output.decode())
