"""Every wrong answer that an upstream can give to a POST."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.eventgate.connection import MAX_HEAD_BYTES, MAX_INTERIM
from tests.fakes import FakeEventGate, Line, Received, Reply, accept, answer, drip, eventually, raw, reset, stall
from tests.hostile.upstreams import (
    CHUNKED,
    EVENT,
    FINE,
    HEAD,
    Bytes,
    descriptors,
    echo,
    endless_body,
    endless_headers,
    ends,
    flood_of_1xx,
    flood_of_long_1xx,
    said,
    speaking,
    then_close,
    with_json,
)
from tests.running import sidecar, to_one

SHORT: dict[str, Any] = {"timeouts": {"connect": "200ms", "attempt": "300ms", "deadline": "600ms"}}
PATIENT: dict[str, Any] = {"timeouts": {"connect": "2s", "attempt": "3s", "deadline": "4s"}}
NOTHING_SAID = "which says nothing about the events"
DOUBT = "; it may have been taken nevertheless"
NO_HTTP = "its answer is not valid HTTP/1.1: "
DEEP = b'{"invalid":[' + b"[" * 100_000 + b"]" * 100_000 + b'],"error":[]}'
GZIPPED = gzip.compress(json.dumps({"invalid": [echo("a")], "error": []}).encode())
FRAMES = b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)
"""What an HTTP/2 server says first: SETTINGS."""

AMBIGUOUS: dict[str, tuple[Reply, str]] = {
    "endless headers": (endless_headers, f"the headers of its answer are over {MAX_HEAD_BYTES} bytes"),
    "endless body": (endless_body, "its answer is over 263"),
    "drip": (drip(HEAD * 9, 0.02), "no answer within 0.3 s"),
    "nothing at all": (stall, "no answer within 0.3 s"),
    "content length too long": (raw(HEAD + b"content-length: 9\r\n\r\n{}"), "no answer within 0.3 s"),
    "close mid-answer": (
        then_close(HEAD + b"content-length: 9\r\n\r\n{}"),
        "connection lost before the answer was complete: closed by the other side",
    ),
    "close mid-chunk": (
        then_close(CHUNKED + b"9\r\n{"),
        "connection lost before the answer was complete: closed by the other side",
    ),
    "reset": (reset, "connection lost before the answer was complete: Connection reset by peer"),
    "1xx flood": (flood_of_1xx, f"it sent over {MAX_INTERIM} 1xx answers and no final one"),
    "1xx flood of long ones": (flood_of_long_1xx, f"it sent over {MAX_INTERIM} 1xx answers and no final one"),
    "101": (
        raw(b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"),
        "it wants to switch to another protocol",
    ),
    "two content lengths": (raw(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"), NO_HTTP),
    "length and chunks": (raw(HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}"), NO_HTTP),
    "HTTP/0.9": (then_close(b"<html>hello</html>\r\n"), NO_HTTP),
    "garbage": (raw(bytes(range(256))), NO_HTTP),
    "HTTP/2 only": (raw(FRAMES), NO_HTTP),
}
"""What is done → what the producer reads. Nobody knows whether the event was taken, and nobody says that it was."""

NO_VERDICT: dict[str, tuple[Reply, str]] = {
    "redirect 301": (answer(301, headers={"location": "http://127.0.0.1:1/"}), "redirects are not followed"),
    "redirect 307": (answer(307, headers={"location": "/v1/events"}), "redirects are not followed"),
    "207 of invalid JSON": (with_json(207, b'{"invalid":[{'), NOTHING_SAID),
    "400 of invalid JSON": (with_json(400, b"\xff\xfe{"), NOTHING_SAID),
    "207 of no JSON": (answer(207, "Some", "<html>"), NOTHING_SAID),
    "deeply nested JSON": (with_json(207, DEEP), NOTHING_SAID),
    "80,000 numbers for failures": (with_json(207, {"invalid": [1] * 80_000, "error": []}), NOTHING_SAID),
    "gzip nobody asked for": (
        with_json(400, GZIPPED, "content-encoding: gzip\r\n"),
        "its answer is compressed (gzip), which was not requested",
    ),
}
"""What is done → words in what the producer reads."""

NOT_ACCEPTED: dict[str, tuple[Reply, str]] = {
    "207 that names a stranger": (
        with_json(207, {"invalid": [echo("nobody sent this")], "error": []}),
        NOTHING_SAID,
    ),
    "201 for too few": (
        answer(201, "All 0 out of 0 events were accepted."),
        NOTHING_SAID,
    ),
    "201 for too many": (
        answer(201, "All 7 out of 7 events were accepted."),
        NOTHING_SAID,
    ),
    "202 for too many": (
        answer(202, "7 events hastily received."),
        NOTHING_SAID,
    ),
    "201 with a failure of another": (
        with_json(201, {"invalid": [], "error": [echo("b", "error")]}),
        NOTHING_SAID,
    ),
    "201 with its failure": (with_json(201, {"invalid": [], "error": [echo("a", "error")]}), NOTHING_SAID),
}
"""Answers in EventGate's own form that cannot be true of one event, `a` → what is said of it."""


def table(cases: dict[str, tuple[Reply, str]]) -> pytest.MarkDecorator:
    """Return a test's cases."""
    return pytest.mark.parametrize(("reply", "words"), [pytest.param(*case, id=name) for name, case in cases.items()])


@table(AMBIGUOUS)
async def test_a_broken_answer_is_ambiguous(tmp_path: Path, reply: Reply, words: str) -> None:
    """The producer gets 503 with the reason within the deadline; one attempt, and no open connection."""
    async with (
        FakeEventGate(reply) as gate,
        sidecar(to_one(gate.address, on_ambiguous="fail", **SHORT), tmp_path) as it,
    ):
        before = descriptors()
        seen = await it.post(EVENT)
        assert (seen.status, seen.headers["retry-after"], await ends(it)) == (503, "1", {"ambiguous": 1.0})
        assert said(seen).startswith(words)
        assert said(seen).endswith(DOUBT)
        assert len(gate.requests) == 1
        assert (await it.post(EVENT)).status == 201, "the next is served as ever"
        await eventually(lambda: descriptors() <= before + 2)  # both ends of the connection that is kept


@table(NO_VERDICT)
async def test_an_answer_without_a_verdict_accepts_nothing(tmp_path: Path, reply: Reply, words: str) -> None:
    """The producer gets 503 with the reason, and the event goes only where `routes.yaml` says."""
    async with FakeEventGate(otherwise=reply) as gate:
        config = to_one(gate.address, on_ambiguous="fail", **SHORT)
        async with sidecar(config, tmp_path) as it:
            seen = await it.post(EVENT)
            assert (seen.status, len(gate.requests) in (1, 2)) == (503, True)
            assert words in said(seen)


@table(NOT_ACCEPTED)
async def test_an_answer_that_cannot_be_true_accepts_nothing(tmp_path: Path, reply: Reply, words: str) -> None:
    """An event counts as accepted only if the answer surely says so; else it is reported as ambiguous."""
    config = {"on_ambiguous": "fail", **SHORT}
    async with FakeEventGate(reply) as gate, sidecar(to_one(gate.address, **config), tmp_path) as it:
        seen = await it.post(EVENT)
        assert (seen.status, len(gate.requests), await ends(it)) == (503, 1, {"ambiguous": 1.0})
        assert words in said(seen)
        assert said(seen).endswith(DOUBT)


async def test_a_207_that_names_an_event_twice_accepts_no_other(tmp_path: Path) -> None:
    """Of three events one is named twice: none of their statuses is known."""
    twice = with_json(207, {"invalid": [echo("a"), echo("a")], "error": []})
    config = {"on_ambiguous": "fail", **SHORT}
    async with FakeEventGate(twice) as gate, sidecar(to_one(gate.address, **config), tmp_path) as it:
        seen = await it.post(b"[%b]" % b",".join(EVENT.replace(b'"a"', b'"%c"' % name) for name in b"abc"))
    assert (seen.status, len(seen.json["invalid"]), len(seen.json["error"])) == (503, 0, 3)


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
        b"HTTP/1.1 102 \r\n\r\n" * 16,
    ],
    ids=["100", "103", "16 of 102"],
)
async def test_interim_answers_are_skipped(tmp_path: Path, interim: bytes) -> None:
    """The final answer counts."""
    async with FakeEventGate(raw(interim + FINE)) as gate, sidecar(to_one(gate.address, **SHORT), tmp_path) as it:
        assert ((await it.post(EVENT)).status, await ends(it)) == (201, {"answered": 1.0})


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    """To another host or to the same."""
    async with FakeEventGate() as elsewhere:
        location = {"location": f"http://{elsewhere.address}/v1/events"}
        replies = [answer(status, "", headers=location) for status in (300, 301, 302, 303, 305, 307, 308)]
        async with FakeEventGate(*replies) as gate, sidecar(to_one(gate.address, **SHORT), tmp_path) as it:
            first = (await it.post(EVENT)).status
        assert (first, elsewhere.connections, len(gate.requests)) == (503, 0, 2)


async def test_bytes_behind_a_short_content_length_are_ignored(tmp_path: Path) -> None:
    """A second 201 behind the first is not taken for the next event's answer."""
    no = with_json(400, {"invalid": [echo("a")]})
    async with FakeEventGate(raw(FINE + FINE), no) as gate, sidecar(to_one(gate.address, **SHORT), tmp_path) as it:
        assert [(await it.post(EVENT)).status for _ in range(2)] == [201, 400]
        assert len(gate.requests) == 2


async def test_an_unrequested_answer_closes_an_idle_connection(tmp_path: Path) -> None:
    """It is not taken for the answer to the next request."""
    late = asyncio.Event()

    async def twice(_: Received, line: Line) -> None:
        line.write(FINE)
        await late.wait()
        line.write(FINE)
        await line.drain()

    no = with_json(400, {"invalid": [echo("a")]})
    async with FakeEventGate(twice, no) as gate, sidecar(to_one(gate.address, **SHORT), tmp_path) as it:
        assert (await it.post(EVENT)).status == 201
        connections = gate.connections
        late.set()
        await eventually(lambda: len(gate._lines) == 0)
        assert ((await it.post(EVENT)).status, gate.connections) == (400, connections + 1)


@pytest.mark.parametrize(
    ("early", "status", "words"),
    [
        (FINE, 503, "it answered 201 before it had the request"),
        (b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", 500, "it answered 413 Too Large"),
    ],
    ids=["201", "413"],
)
async def test_an_answer_before_the_request_is_sent(tmp_path: Path, early: bytes, status: int, words: str) -> None:
    """An acceptance of an unread event is not believed, a refusal is. The connection is not reused."""
    heads: list[bytes] = []
    done = asyncio.Event()

    async def hasty(reader: Bytes, line: Line) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            line.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        heads.append(head)
        line.transport.pause_reading()  # type: ignore[attr-defined]
        line.write(early)
        await done.wait()

    large = EVENT[:-1] + b',"x":"%b"}' % (b"x" * 9_000_000)
    async with speaking(hasty) as address, sidecar(to_one(address, on_ambiguous="fail", **PATIENT), tmp_path) as it:
        seen = [await it.post(large) for _ in range(2)]
        done.set()
    assert ([each.status for each in seen], len(heads)) == ([status] * 2, 2)
    assert words in seen[0].json["error"][0]["context"]["message"]


async def test_a_connection_closed_while_it_idles_costs_nothing(tmp_path: Path) -> None:
    """The next event is sent on a new connection at once."""
    async with FakeEventGate(then_close(FINE)) as gate, sidecar(to_one(gate.address, **SHORT), tmp_path) as it:
        assert [(await it.post(EVENT)).status for _ in range(3)] == [201] * 3
        assert await ends(it) == {"answered": 3.0}


@pytest.mark.parametrize(("setting", "status", "posts"), [("resend", 201, 3), ("fail", 503, 2)])
async def test_a_connection_closed_just_when_it_is_used_again(
    tmp_path: Path, setting: str, status: int, posts: int
) -> None:
    """The event may have been taken: it is sent again with the same `meta.id`, or refused if that is forbidden."""
    async with FakeEventGate(accept, reset) as gate:
        async with sidecar(to_one(gate.address, on_ambiguous=setting, **SHORT), tmp_path) as it:
            assert [(await it.post(EVENT)).status for _ in range(2)] == [201, status]
        assert [request.body for request in gate.requests] == [EVENT] * posts
