"""The first inputs: what EventGate and its producers really sent, and unusual JSON and HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests import exchanges
from tests.fuzz.targets import STATUSES

FOUND = Path(__file__).parent / "found"
"""Inputs that once broke a property, in a folder for each target."""
MAX_BYTES = 4096
"""The search would cut larger ones."""

_PECULIAR = [
    b'{"meta":{"stream":"a","stream":"b","id":"x"},"meta":{"id":"y"}}',
    rb'[{"m\u0065ta":{"stream":"\ud800","id":"\ud83d\ude00"}}, 1.0, -0, 1e400, 18446744073709551616]',
    b'\xef\xbb\xbf{"meta":{}}',
    b'{"$schema":null,"meta":{"stream":"\xff\xc3","request_id":"\x7f"}}',
    b"[" * 40 + b"]" * 40,
    b'{"meta": {} , "a":[[],{}],"b":NaN}',
]
_ANSWERS = [
    b"HTTP/1.1 201 All 1 out of 1 events were accepted.\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 207 \r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.0 400 Bad\r\nx: y\r\n\r\nuntil it closes",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nPRI",
    b"HTTP/1.1 204 No Content\r\n\r\n",
]


def seeds(target: str) -> list[bytes]:
    """Return the inputs with which a target starts; those that once broke it come first."""
    known = {"body": _bodies, "reply": _replies, "answer": _answers}[target]()
    found = (path.read_bytes() for path in sorted((FOUND / target).glob("*")))
    return [*found, *(each for each in known if len(each) <= MAX_BYTES)]


def _bodies() -> Iterator[bytes]:
    yield from _PECULIAR
    for each in exchanges.load():
        yield each.body


def _replies() -> Iterator[bytes]:
    """Yield recorded answers of EventGate, and answers about the target's events."""
    for each in exchanges.load():
        if each.json is not None and each.status in STATUSES:
            yield bytes([STATUSES.index(each.status)]) + json.dumps(each.json).encode()
    echo = {"status": "invalid", "event": {"meta": {"stream": "s", "id": "b"}}, "context": {"errors": []}}
    for status in (207, 400, 500):
        yield bytes([STATUSES.index(status)]) + json.dumps({"invalid": [echo], "error": [None, echo]}).encode()


def _answers() -> Iterator[bytes]:
    yield from _ANSWERS
    for each in exchanges.load():
        body = json.dumps(each.json) if each.json is not None else each.text or ""
        head = f"HTTP/1.1 {each.status} {each.reason}\r\ncontent-length: {len(body.encode())}\r\n\r\n"
        yield (head + body).encode()
