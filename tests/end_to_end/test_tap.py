"""`eventgate-sidecar tap` with a running sidecar, in two processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import written
from tests.end_to_end.load import an_event
from tests.end_to_end.processes import Emulator, Process, Sidecar, ask, sidecar
from tests.fakes import eventually
from tests.running import to_one

JSON = {"content-type": "application/json"}


@pytest.fixture
def tapped(eventgate: Emulator, tmp_path: Path) -> Iterator[Sidecar]:
    """Run a sidecar that may be listened to."""
    config = to_one(eventgate.address)
    config["routes"] = [{"name": "tests", "match": {"stream": "test*"}, "to": "main", "stream": "score"}]
    with sidecar(written(config, tmp_path), "--drain", "0", env={"SIDECAR_TAP": "1"}) as running:
        yield running


async def begun(running: Sidecar, listener: Process) -> None:
    """Wait until it listens: the first event that it shows is one of these."""

    def shows_one() -> bool:
        assert ask(running.address, "POST", "/v1/events", an_event("begin", "test.begin"), JSON).status == 201
        return bool(listener.lines)

    await eventually(shows_one)


@pytest.mark.parametrize("ended_by", ["Ctrl-C", "the sidecar's stop"])
async def test_events_are_shown_as_they_pass(tapped: Sidecar, ended_by: str) -> None:
    """Accepted, invalid and refused ones; it ends with status 0, and does not keep the sidecar from stopping."""
    listener = Process("sidecar", "tap", "--listen", tapped.address, "--json")
    try:
        await begun(tapped, listener)
        for stream, more in (("test.a", {}), ("test.b", {"test": 7}), ("unheard-of", {})):
            ask(tapped.address, "POST", "/v1/events", an_event("x", stream, **more), JSON)
        for stream, outcome, route in (
            ("test.a", "delivered", "tests"),
            ("test.b", "invalid", "tests"),
            ("unheard-of", "refused", ""),
        ):
            found = listener.line(lambda line, stream=stream: line["stream"] == stream)  # type: ignore[misc]
            assert (found["outcome"], found["route"]) == (outcome, route)
            assert found["event"].startswith('{"$schema": "/test/event/1.0.0"')
        invalid = listener.line(lambda line: line["outcome"] == "invalid")
        assert (invalid["said"], invalid["sent_as"]) == ("'.test' should be string", "score")
        if ended_by == "Ctrl-C":
            listener.tell(signal.SIGINT)
        else:
            tapped.process.tell(signal.SIGTERM)
            assert tapped.process.end() == 0
        assert listener.end() == 0
    finally:
        listener.kill()


async def test_a_killed_sidecar_is_status_2(tapped: Sidecar) -> None:
    """The events that it would have shown are unknown."""
    listener = Process("sidecar", "tap", "--listen", tapped.address)
    try:
        await begun(tapped, listener)
        tapped.process.kill()
        assert listener.end() == 2
        assert f"the sidecar at {tapped.address} stopped" in listener.lines[-1]
    finally:
        listener.kill()


def test_without_the_flag_nothing_is_shown(before: Sidecar) -> None:
    """The tap is off, and the message says how to enable it."""
    listener = Process("sidecar", "tap", "--listen", before.address)
    assert listener.end() == 2
    (words,) = listener.lines
    assert "the tap is off" in words
    assert "--tap" in words
