"""The log of a sidecar process shows what happened, but no event content."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.conftest import QUICK_CHECKS, written
from tests.end_to_end.load import an_event
from tests.end_to_end.processes import ROOT, Emulator, Sidecar, ask, sidecar
from tests.end_to_end.test_spool import logged
from tests.fakes import PATIENCE, FakeEventGate, connected, eventually, refusing, reset
from tests.running import to_one, upstream

SECRET = "Zq7MARKERq7Z"


async def told(running: Sidecar, stream: str, body: bytes = b"", /, **more: object) -> int:
    """Post an event that is full of what nobody else may read; return the status of the answer."""
    body = body or an_event(f"{SECRET}-{stream}", stream, **more)
    async with connected(running.address) as client:
        return (await client.post(body)).status


async def test_no_event_is_in_log_or_metrics(tmp_path: Path, eventgate: Emulator) -> None:
    """Accepted, invalid, refused, unreadable, failed over, failed, kept, sent later and buried: its content is nowhere.

    Nor are its id and its keys; its stream is.
    """
    eventgate.forget()
    async with FakeEventGate(otherwise=reset) as eqiad, FakeEventGate(beside=eqiad.address) as codfw:
        with refusing() as nobody:
            config = to_one(eventgate.address) | {
                "upstreams": {
                    "main": upstream(eventgate.address, **QUICK_CHECKS),
                    "two": upstream(eqiad.address, codfw.address),
                    "gone": upstream(nobody, spool=False),
                },
                "routes": [
                    {"name": "two", "match": {"stream": "over"}, "to": "two"},
                    {"name": "gone", "match": {"stream": "lost"}, "to": "gone"},
                    {"name": "no", "match": {"stream": "refused"}, "reject": "not here"},
                    {"name": "main", "match": {"stream": ["score", "later"]}, "to": "main"},
                ],
            }
            with sidecar(written(config, tmp_path), "--spool", str(tmp_path / "spool")) as running:
                assert await told(running, "score") == 201
                assert await told(running, "score", test={SECRET: SECRET}, **{SECRET: SECRET}) == 400
                assert await told(running, "refused") == 400
                assert await told(running, "no-route") == 400
                assert await told(running, "", an_event(SECRET)[:-1] + SECRET.encode()) == 500
                assert await told(running, "over") == 201
                assert await told(running, "lost") == 503
                eventgate.fault("refuse")
                assert [await told(running, "later"), await told(running, "later", test={SECRET: 1})] == [202, 202]
                await eventually(lambda: bool(logged(running, "Replayed")))
                eventgate.fault("none")
                results = "eventgate_sidecar_spool_replayed_events_total"
                await eventually(lambda: running.metrics(results).keys() >= {("delivered", "main"), ("dead", "main")})
                metrics = (await asyncio.to_thread(ask, running.admin, "GET", "/metrics")).body.decode()
                running.process.tell(signal.SIGINT)
                assert await asyncio.to_thread(running.process.end) == 0
    log = json.dumps(running.process.lines)
    assert (SECRET in log, SECRET in metrics) == (False, False)
    actions = {line["event"]["action"] for line in running.process.lines}
    assert actions >= {"EventsEnded", "RequestRefused", "PostFailed", "Replayed", "SpoolOpened"}


async def test_the_log_has_each_transition_and_sampled_failures(tmp_path: Path) -> None:
    """A health transition is one line; of a hundred failures one per second is logged, and all are counted."""
    clock = asyncio.get_running_loop().time
    with refusing() as nobody, sidecar(written(to_one(nobody), tmp_path)) as running:
        begun = clock()
        for _ in range(100):
            assert await told(running, "score") == 503
        seconds = clock() - begun
        counted = await asyncio.to_thread(running.metrics, "eventgate_sidecar_events_total")
        running.process.tell(signal.SIGINT)
        assert await asyncio.to_thread(running.process.end) == 0
    actions = Counter(line["event"]["action"] for line in running.process.lines)
    assert counted["failed", "_other"] == 100.0
    assert (actions["HealthChanged"], actions["EventsEnded"] <= 1 + seconds) == (1, True)


def screen(words: list[str], env: dict[str, str]) -> str:
    """Run `serve` in a terminal until it listens, end it, and return all that the terminal got."""
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "sidecar", "serve", *words]
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=inner, stderr=inner)
    os.close(inner)
    shown = b""
    try:
        while select.select([outer], [], [], PATIENCE)[0]:
            part = os.read(outer, 4096)
            shown += part
            if b"listening" in part:
                child.send_signal(signal.SIGINT)
    except OSError:  # Linux says EIO where the other side has closed
        pass
    finally:
        child.kill()
        child.wait()
        os.close(outer)
    return shown.decode()


@pytest.mark.parametrize(
    ("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["colour", "NO_COLOR"]
)
def test_a_terminal_shows_lines(tmp_path: Path, variables: dict[str, str], coloured: bool) -> None:
    """Time, level and event in each line, and the rest dimmed."""
    with refusing() as nobody:
        addresses = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        words = ["--routes", str(written(to_one(nobody), tmp_path)), *addresses]
        shown = screen(words, {"PATH": os.environ["PATH"], "TERM": "xterm-256color", **variables})
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert [line for line in plain if not re.match(r"\d\d:\d\d:\d\d (INFO   |WARNING) \w", line)] == []
    assert re.search(r"^\S+ INFO    listening  intake=127\.0\.0\.1:\d+ admin=127\.0\.0\.1:\d+$", plain[1])
    assert ("\x1b[32mINFO   \x1b[0m listening  \x1b[2mintake=" in shown, "\x1b" in shown) == (coloured, coloured)
