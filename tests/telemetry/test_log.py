"""The log is JSON for machines and text for people; no field can forge a line."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sidecar.telemetry.happenings import (
    ConfigRefused,
    EventsEnded,
    Happening,
    HealthChanged,
    Listening,
    PostFailed,
    Unexpected,
)
from sidecar.telemetry.log import make_log, wants_colour
from sidecar.telemetry.telemetry import Telemetry
from tests.fakes import PATIENCE

ROOT = Path(__file__).parent.parent.parent
NO_COLOUR = {"NO_COLOR": "1"}
CHANGED = HealthChanged("staging", "eqiad", "10.2.1.1", "healthy", "unhealthy", "connects, then silent for 1 s: hangs")


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def shown(*happenings: Happening, variables: Mapping[str, str] = NO_COLOUR) -> str:
    """Return the lines in a terminal, without the time of day."""
    terminal = Terminal()
    telemetry = Telemetry([], make_log(terminal, variables))
    for each in happenings:
        telemetry.emit(each)
    return re.sub(r"^(\x1b\[2m)?\d\d:\d\d:\d\d", r"\1TIME", terminal.getvalue(), flags=re.MULTILINE)


def test_a_terminal_gets_readable_lines() -> None:
    """At a terminal the log is text, not JSON."""
    line = "TIME INFO    listening  intake=127.0.0.1:8888 admin=0.0.0.0:9102\n"
    assert shown(Listening("127.0.0.1:8888", "0.0.0.0:9102")) == line


def test_the_message_comes_before_the_fields() -> None:
    """The event, then its reason, then the other fields."""
    fields = "upstream=staging endpoint=eqiad address=10.2.1.1 before=healthy after=unhealthy"
    assert shown(CHANGED) == f"TIME WARNING health changed: connects, then silent for 1 s: hangs  {fields}\n"


def test_a_terminal_gets_colours() -> None:
    """Green, yellow and red for the level; time and fields are dim."""
    lines = shown(
        Listening("a:1", "b:2"),
        PostFailed("staging", "eqiad", "ambiguous", "reset", 0.5),
        Unexpected("intake", "ValueError: x"),
        variables={"TERM": "xterm"},
    ).splitlines()
    assert lines == [
        "\x1b[2mTIME\x1b[0m \x1b[32mINFO   \x1b[0m listening  \x1b[2mintake=a:1 admin=b:2\x1b[0m",
        "\x1b[2mTIME\x1b[0m \x1b[33mWARNING\x1b[0m post failed: reset  "
        "\x1b[2mupstream=staging endpoint=eqiad failure=ambiguous seconds=0.500\x1b[0m",
        "\x1b[2mTIME\x1b[0m \x1b[31mERROR  \x1b[0m unexpected: ValueError: x  \x1b[2mwhere=intake\x1b[0m",
    ]


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=str,
)
def test_no_color_turns_colours_off(variables: dict[str, str], coloured: bool) -> None:
    """NO_COLOR counts if it is not empty, as on no-color.org."""
    assert wants_colour(variables) is coloured
    assert ("\x1b" in shown(CHANGED, variables=variables)) is coloured


def test_without_a_terminal_the_log_is_json_without_colour() -> None:
    """A pod's log is one JSON object per line, whatever the environment says about colours."""
    written = io.StringIO()
    Telemetry([], make_log(written, {"TERM": "xterm"})).emit(CHANGED)
    assert json.loads(written.getvalue())["eventgate_sidecar"]["reason"] == CHANGED.reason
    assert "\x1b" not in written.getvalue()


def test_names_cannot_forge_lines() -> None:
    """A line break or a control character in a name stays on its line, on a terminal too."""
    line = shown(EventsEnded("a\nb\x1b[2J\x85", "refused", 1, "no\r\nroute"))
    assert line == "TIME WARNING events ended: no\\r\\nroute  stream=a\\nb\\x1b[2J\\x85 outcome=refused count=1\n"


def test_a_long_reason_is_cut() -> None:
    """Lines stay readable, however long an endpoint's answer is."""
    assert len(shown(PostFailed("u", "e", "refused", "x" * 10_000, 0.1))) < 500


def test_a_line_has_the_number_of_suppressed_ones() -> None:
    """The next line of a kind counts failures that were not logged."""
    terminal, record = Terminal(), PostFailed("u", "e", "ambiguous", "reset", 0.5)
    log = make_log(terminal, NO_COLOUR)
    log.log(
        logging.WARNING, "%s: %s%s", "post failed", "reason=reset", " (and 6 more like it)",
        extra={"event.action": "PostFailed", "eventgate_sidecar": {"reason": record.reason}},
    )  # fmt: skip
    assert terminal.getvalue()[8:] == " WARNING post failed: reset (and 6 more like it)\n"


def test_problems_of_a_configuration_look_as_in_check() -> None:
    """Each on its own lines with its place, below the line that names the file."""
    text = "routes.yaml:7:5: routes[0].to is 'x'\n    to: x\n        ^\x1b[31m"
    assert shown(ConfigRefused("routes.yaml", 1, text)) == (
        "TIME ERROR   config refused  file=routes.yaml problems=1\n"
        "routes.yaml:7:5: routes[0].to is 'x'\n    to: x\n        ^\\x1b[31m\n"
    )


def test_log_records_of_libraries_are_shown() -> None:
    """Those of asyncio or the trace exporter look like ours, with the traceback below."""
    terminal = Terminal()
    log = make_log(terminal, NO_COLOUR)
    try:
        int("\x1b[2J")
    except ValueError:
        log.exception("it %s", "broke")
    lines = terminal.getvalue().splitlines()
    assert (lines[0][8:], lines[1]) == (" ERROR   it broke", "Traceback (most recent call last):")
    assert "\x1b" not in terminal.getvalue()


GIVES_UP = """
import asyncio, ssl, sys, threading
from pathlib import Path
import uvloop
from sidecar.serve.runtime import prepare_process
from tests.fakes import Authority, FakeEventGate

authority = Authority(Path(sys.argv[1]))
listening, over, never = threading.Event(), threading.Event(), threading.Event()
completed = []

async def serve():
    global address
    async with FakeEventGate(tls=authority.server("localhost")) as gate:
        address = gate.address
        listening.set()
        await asyncio.to_thread(over.wait)

class GivenUp(asyncio.Protocol):
    def connection_made(self, transport):
        completed.append(transport)
        connecting.cancel()  # as its deadline does

async def stay_busy():
    while True:
        never.wait(0.01)  # so that the whole handshake arrives within one turn of the loop
        await asyncio.sleep(0)

async def connect():
    global connecting
    trusts = ssl.create_default_context(cafile=authority.ca_file)
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        busy = tasks.create_task(stay_busy())
        for _ in range(20):  # which turn all arrives in is up to the machine
            made = loop.create_connection(GivenUp, host, int(port), ssl=trusts, server_hostname="localhost")
            connecting = tasks.create_task(made)
            await asyncio.wait([connecting])
            assert connecting.cancelled() and completed
        await asyncio.sleep(0.1)
        busy.cancel()

server = threading.Thread(target=asyncio.run, args=(serve(),))
server.start()
listening.wait()
prepare_process()
try:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(connect())
finally:
    over.set()
    server.join()
"""


def test_a_closed_connection_is_no_fatal_error(tmp_path: Path) -> None:
    """No traceback is logged, whenever a connection is closed."""
    command = [sys.executable, "-c", GIVES_UP, str(tmp_path)]
    seen = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (seen.stdout, seen.stderr, seen.returncode) == ("", "", 0)
