"""Recorded exchanges with the real EventGate, built from `tests/data/eventgate_exchanges.yaml`.

The file says what was sent and what came back in a short notation; here each becomes plain bytes and plain
values.
"""

from __future__ import annotations

import copy
import functools
import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Json = Any
"""Whatever JSON can hold, as Python holds it."""

RECORDED = Path(__file__).parent / "data" / "eventgate_exchanges.yaml"


@dataclass(frozen=True)
class Exchange:
    """One request and the answer of the real EventGate.

    `json` is the parsed body where the answer was JSON, else None; `text` is the body where it was not JSON,
    else None.
    """

    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    reason: str
    content_type: str | None
    json: Any
    text: str | None

    @property
    def intake(self) -> bool:
        """Whether this is a POST of events: only these pass through the sidecar unchanged."""
        return self.method == "POST" and self.path.lower().startswith("/v1/events")


@functools.cache
def load() -> list[Exchange]:
    """Every recorded exchange, in the order of the file."""
    return [_exchange(item, base_events()) for item in _document()["exchanges"]]


def base_events() -> Mapping[str, Any]:
    """The named events that the exchanges are made of; copy before changing one."""
    events: Mapping[str, Any] = _document()["events"]
    return events


@functools.cache
def _document() -> Mapping[str, Any]:
    document: Mapping[str, Any] = yaml.safe_load(RECORDED.read_text(encoding="utf-8"))
    return document


def named(name: str) -> Exchange:
    """The exchange with this name; KeyError if there is none."""
    found = {exchange.name: exchange for exchange in load()}
    return found[name]


def assert_holds(
    exchange: Exchange,
    status: int,
    reason: str | None,
    headers: Mapping[str, str],
    body: bytes,
    *,
    ids_assigned: bool = False,
) -> None:
    """Fail unless this answer says what the recorded one says.

    `headers` are looked up by lower-case name. A `reason` of None is not compared, for answers read through
    something that does not tell it. With `ids_assigned`, an echoed event may carry a `meta.id` that the
    recorded one lacks: the sidecar assigns one to each event that came without.
    """
    assert status == exchange.status
    assert reason is None or reason == exchange.reason
    assert headers.get("content-type") == exchange.content_type
    if exchange.text is not None:
        assert body.decode() == exchange.text
        return
    got = json.loads(body)
    if ids_assigned:
        _forget_assigned_ids(got, exchange.json)
    assert _canonical(got) == _canonical(exchange.json)


def build_body(request: Mapping[str, Any], events: Mapping[str, Any]) -> bytes:
    """The bytes to send, from a request in the notation that the top of the file explains."""
    if "event" in request:
        text = json.dumps(build_event(request["event"], events), ensure_ascii="charset" not in request)
    elif "events" in request:
        text = json.dumps([build_event(item, events) for item in request["events"]])
    elif "nested" in request:
        text = "[" * request["nested"] + "]" * request["nested"]
    else:
        text = request.get("text", "")
    text = f"{request.get('before', '')}{text}{request.get('after', '')}"
    data: bytes = text.encode(request.get("charset", "utf-8"))
    match request.get("compress"):
        case "gzip":
            return gzip.compress(data, mtime=0)
        case "deflate":
            return zlib.compress(data)
    return data


def build_event(notation: Json, events: Mapping[str, Any]) -> Json:
    """One event from `{base, set, remove, fill}` or `{nested}`; anything else stands for itself."""
    if isinstance(notation, dict) and "nested" in notation:
        return json.loads("[" * notation["nested"] + "]" * notation["nested"])
    if not isinstance(notation, dict) or "base" not in notation:
        return notation
    event = copy.deepcopy(events[notation["base"]])
    for path, value in notation.get("set", {}).items():
        parent, key = _locate(event, path)
        parent[key] = value
    for path, count in notation.get("fill", {}).items():
        parent, key = _locate(event, path)
        parent[key] = "x" * count
    for path in notation.get("remove", []):
        parent, key = _locate(event, path)
        del parent[key]
    return event


def _locate(event: Json, path: str) -> tuple[Any, str]:
    """The object that holds the last key of a dotted path, and that key."""
    *parents, key = path.split(".")
    for name in parents:
        event = event[name]
    return event, key


def _exchange(item: Mapping[str, Any], events: Mapping[str, Any]) -> Exchange:
    request, answer = item.get("request", {}), item["answer"]
    return Exchange(
        name=item["name"],
        method=request.get("method", "POST"),
        path=request.get("path", "/v1/events"),
        headers=request.get("headers", {"content-type": "application/json"}),
        body=build_body(request, events),
        status=answer["status"],
        reason=answer["reason"],
        content_type=answer.get("content_type"),
        json=build_answer(answer["json"], events) if "json" in answer else None,
        text=None if "json" in answer else answer.get("text", ""),
    )


def build_answer(body: Json, events: Mapping[str, Any]) -> Json:
    """A JSON body whose echoed events are spelt out."""
    if not isinstance(body, dict):
        return body
    return {
        key: [{**status, "event": build_event(status["event"], events)} for status in value]
        if key in ("invalid", "error")
        else value
        for key, value in body.items()
    }


def _forget_assigned_ids(got: Json, recorded: Json) -> None:
    for key in ("invalid", "error"):
        for mine, theirs in zip(got.get(key, []), recorded.get(key, []), strict=True):
            had = theirs["event"].get("meta") if isinstance(theirs["event"], dict) else None
            if isinstance(had, dict) and "id" not in had:
                mine["event"].get("meta", {}).pop("id", None)


def _canonical(value: Json) -> str:
    # Compared as text, since to Python True equals 1 and to EventGate it does not.
    return json.dumps(value, sort_keys=True, indent=1)
