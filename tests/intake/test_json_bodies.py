"""Odd bodies are accepted or refused as by EventGate: `tests/data/json_bodies.yaml`."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.demo.emulator import bodyparser
from sidecar.errors import EmptyBody, RequestError
from sidecar.events.event import parse
from sidecar.intake.body import MAX_BODY_BYTES, decoded

FILE = Path(__file__).parent.parent / "data" / "json_bodies.yaml"
JSON_TYPE = "application/json"
NODE = shutil.which("node")

IN_NODE = r"""
function verdict(body) {
    let text = Buffer.from(body, "base64").toString("utf8").replace(/^\uFEFF/, "");
    if (!text) return "empty";
    if (!/^[ \t\n\r]*[{[]/.test(text)) return "refused";  // body-parser, strict
    let read;
    try { read = JSON.parse(text); } catch { return "refused"; }
    if (!Object.keys(read).length) return "empty";  // lodash's isEmpty
    return (Array.isArray(read) ? read : [read]).map((event) => {
        const found = event && event.meta && event.meta.stream;
        return typeof found === "string" ? found.toWellFormed() : null;
    });
}
const bodies = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(bodies.map(verdict)));
"""
"""What EventGate does with a body in UTF-8, in words of its own."""

Verdict = str | list[str | None]
"""`empty`, `refused`, or the streams of the events."""


@dataclass(frozen=True)
class Case:
    """A body and the expected result."""

    name: str
    body: bytes
    eventgate: Verdict
    ours: Verdict
    unclear: bool


def cases() -> list[Case]:
    """Read the file."""
    kinds = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return [_case(f"{kind}: {name}", each) for kind, named in kinds.items() for name, each in named.items()]


def _case(name: str, case: dict[str, Any]) -> Case:
    verdict = ["s"] if case["verdict"] == "taken" else case["verdict"]
    body = written(case["body"] if "body" in case else ['{"meta":{"stream":"s"},"v":', case["value"], "}"])
    return Case(name, body.encode("latin-1"), verdict, case.get("ours", verdict), case.get("unclear", False))


def written(text: Any) -> str:
    """Return the bytes described in the file."""
    if isinstance(text, list):
        return "".join(map(written, text))
    return text["repeat"] * text["times"] if isinstance(text, dict) else str(text)


CASES = cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_a_body_is_taken_or_refused_as_eventgate_does_it(case: Case) -> None:
    """The same bodies are not JSON, the same are empty, and an event has the stream that EventGate finds."""
    found: Verdict
    try:
        events = parse(decoded(case.body, JSON_TYPE, "", MAX_BODY_BYTES))
    except EmptyBody:
        found = "empty"
    except RequestError:
        found = "refused"
    else:
        assert all(bool(event.unclear) == case.unclear for event in events)
        found = list(case.ours) if case.unclear else [event.stream for event in events]
        assert all(event.raw in case.body for event in events)
    assert found == case.ours


@each_case
def test_the_emulator_takes_the_same_bodies(case: Case) -> None:
    """The emulator agrees with the real EventGate."""
    headers = {b"content-type": JSON_TYPE.encode(), b"content-length": b"%d" % len(case.body)}
    try:
        count = len(bodyparser.read(headers, case.body, MAX_BODY_BYTES))
    except (bodyparser.BodyError, RecursionError):
        assert case.ours == "refused"
    else:
        assert count == (0 if case.eventgate == "empty" else len(case.eventgate))
        assert case.eventgate != "refused"


@pytest.mark.skipif(NODE is None, reason="there is no node here, which says once more what the file says")
def test_the_verdicts_are_those_of_node() -> None:
    """JSON.parse accepts and refuses the same bodies."""
    assert NODE is not None
    sent = json.dumps([base64.b64encode(case.body).decode() for case in CASES])
    said = subprocess.run([NODE, "-e", IN_NODE], input=sent, capture_output=True, text=True, check=True)
    found = dict(zip((case.name for case in CASES), json.loads(said.stdout), strict=True))
    assert found == {case.name: case.eventgate for case in CASES}
