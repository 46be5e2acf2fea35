"""How a POST can end, on real sockets: a whole sidecar with an endpoint that misbehaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar.eventgate.client import _seconds, array, phrase
from sidecar.eventgate.connection import MAX_REPLY_BYTES
from sidecar.eventgate.connection import Reply as Received
from sidecar.events.outgoing import Outgoing
from tests.fakes import (
    Answer,
    FakeEventGate,
    Reply,
    accept,
    answer,
    close,
    drip,
    failures,
    raw,
    refusing,
    reset,
    stall,
)
from tests.running import Running, sidecar, to_one

EVENT = b'{"meta":{"stream":"s","id":"a"},"n":1.0}'
SHORT: dict[str, Any] = {"timeouts": {"connect": "100ms", "attempt": "150ms", "deadline": "400ms"}}
JSON_TYPE = {"content-type": "application/json; charset=utf-8"}
OWN_ERROR = {
    "status": 500,
    "type": "internal_error",
    "detail": "words",
    "method": "POST",
    "uri": "/v1/events",
}


@dataclass(frozen=True)
class Outcome:
    """How one event sent to one endpoint ended."""

    answer: Answer
    ends: dict[str, float]
    """Class of an attempt's end → how many ended so."""
    posts: int

    @property
    def said(self) -> str:
        """Return the message for the event, up to the endpoint's name."""
        (error,) = self.answer.json["error"]
        message: str = error["context"]["message"]
        return message.partition(": ")[2].partition(": ")[2]


async def outcome(folder: Path, *replies: Reply, **settings: Any) -> Outcome:
    """Send one event to an endpoint with these replies, with `on_ambiguous: fail`."""
    async with FakeEventGate(*replies, otherwise=replies[-1]) as gate:
        config = to_one(gate.address, **{"on_ambiguous": "fail", **SHORT, **settings})
        async with sidecar(config, folder) as running:
            seen = await running.post(EVENT)
            return Outcome(seen, await ends(running), len(gate.requests))


async def ends(running: Running) -> dict[str, float]:
    """Return the results of the attempts so far, with their counts."""
    counted = await running.metrics("eventgate_sidecar_posts_total")
    return {labels.partition('result="')[2].partition('"')[0]: count for labels, count in counted.items()}


async def test_a_request_has_the_headers_that_eventgate_needs(tmp_path: Path) -> None:
    """The body, its type, the host and the producer's headers, and nothing else."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:
        await running.post(
            EVENT, "/v1/events?hasty=true", x_request_id="r", traceparent="t", user_agent="u", cookie="c"
        )
        (request,) = gate.requests
    assert (request.method, request.target, request.body) == (
        "POST",
        "/v1/events?hasty=true",
        EVENT,
    )
    ignored = {"accept", "connection"}
    assert {name: value for name, value in request.headers.items() if name not in ignored} == {
        "host": gate_host(request.headers["host"]),
        "content-type": "application/json",
        "content-length": str(len(EVENT)),
        "accept-encoding": "identity",
        "x-request-id": "r",
        "traceparent": "t",
        "user-agent": "u",
    }


def gate_host(host: str) -> str:
    """Return `host` if it is the fake's."""
    assert host.startswith("127.0.0.1:")
    return host


async def test_a_connection_is_reused(tmp_path: Path) -> None:
    """One connection carries POST after POST; health checks have their own."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:
        for _ in range(10):
            assert (await running.post(EVENT)).status == 201
        assert (len(gate.requests), gate.connections <= 2) == (10, True)


# --- what is sent ---


@pytest.mark.parametrize(
    ("bodies", "body"),
    [
        pytest.param([b'{"a": 1.0}'], b'[{"a": 1.0}]', id="one without an id is an array too"),
        pytest.param([b"{}"], b"[{}]", id="an empty event is not an empty body"),
        pytest.param([b"{}", b"1", b'"\xff"'], b'[{},1,"\xff"]', id="bytes as they are"),
    ],
)
def test_a_post_is_an_array_of_unchanged_events(bodies: list[bytes], body: bytes) -> None:
    """Each event keeps its bytes."""
    assert array([Outgoing(index, each, None, "") for index, each in enumerate(bodies)]) == body


def test_a_lone_event_is_sent_without_an_array() -> None:
    """It is no larger than received, so the largest event accepted can also be sent."""
    assert array([Outgoing(0, b'{"meta": {"id": "a"}}', "a", "")]) == b'{"meta": {"id": "a"}}'


def test_an_array_of_many_events_is_json() -> None:
    """In their order."""
    assert json.loads(array([Outgoing(n, b'{"n":%d}' % n, str(n), "s") for n in range(3)])) == [
        {"n": 0},
        {"n": 1},
        {"n": 2},
    ]


# --- verdicts ---

WRONG = {"status": "invalid", "event": json.loads(EVENT), "context": {"errorsText": "is wrong"}}
BROKEN = {"status": "error", "event": json.loads(EVENT), "context": {"message": "Local: Message timed out"}}


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (accept, 201, None),
        (failures(400, invalid=[WRONG]), 400, {"invalid": [WRONG]}),
        (failures(500, invalid=[], error=[BROKEN]), 500, {"invalid": [], "error": [BROKEN]}),
    ],
    ids=["accepted", "invalid", "error"],
)
async def test_a_verdict_is_the_answer(tmp_path: Path, reply: Reply, status: int, body: object) -> None:
    """EventGate's statuses are passed on unchanged, and the events are not sent again."""
    seen = await outcome(tmp_path, reply)
    assert (seen.answer.status, seen.answer.json if seen.answer.body else None) == (status, body)
    assert (seen.ends, seen.posts) == ({"answered": 1.0}, 1)


# --- no verdict ---


TWICE = {"infrastructure"}
"""Classes after which a lone endpoint is tried once more; one that asks for longer than the deadline is not."""


@pytest.mark.parametrize(
    ("reply", "ended", "said"),
    [
        (answer(413, "Too Large"), "refused", "413 Too Large"),
        (answer(404, "Not Found"), "infrastructure", "404 Not Found"),
        (answer(501, "Not Implemented"), "infrastructure", "501 Not Implemented"),
        (answer(400, "Bad Request", "text"), "infrastructure", "400 Bad Request"),
        (answer(200, "OK", "a login page"), "ambiguous", "200 OK"),
        (answer(204, ""), "ambiguous", "204 No Content"),
        (answer(202, "1 events hastily received."), "ambiguous", "202 1 events hastily received."),
        (answer(201, "All 2 out of 2 events were accepted."), "ambiguous", "201 All 2 out of 2 events were accepted."),
        (answer(429, "Too Many", headers={"retry-after": "60"}), "throttled", "429 Too Many"),
        (answer(503, "Later", headers={"retry-after": "60"}), "throttled", "503 Later"),
        (answer(503, "Sorry", "no healthy upstream"), "infrastructure", "503 Sorry"),
        (answer(502, "", "<html>"), "infrastructure", "502 Bad Gateway"),
        (answer(500, "Oops", '{"oops": 1}'), "infrastructure", "500 Oops"),
    ],
)
async def test_without_a_verdict_the_status_decides(tmp_path: Path, reply: Reply, ended: str, said: str) -> None:
    """A refusal is not retried; an answer that is not EventGate's, or impossible, is."""
    seen = await outcome(tmp_path, reply)
    posts = 2 if ended in TWICE else 1
    assert (seen.ends, seen.posts) == ({ended: float(posts)}, posts)
    doubt = "; it may have been taken nevertheless" if ended == "ambiguous" else ""
    assert seen.said == f"it answered {said}, which says nothing about the events{doubt}"
    status = (500, None) if ended == "refused" else (503, "1")
    assert (seen.answer.status, seen.answer.headers.get("retry-after")) == status


@pytest.mark.parametrize("title", ["PayloadTooLargeError", "SyntaxError"])
async def test_a_body_that_eventgate_cannot_read_is_not_sent_again(tmp_path: Path, title: str) -> None:
    """EventGate's own 500 for it is a refusal, passed on with its message."""
    body = json.dumps({**OWN_ERROR, "title": title})
    seen = await outcome(tmp_path, answer(500, "Internal Server Error", body, JSON_TYPE))
    assert (seen.ends, seen.posts, seen.answer.status) == ({"refused": 1.0}, 1, 500)
    assert seen.said == f"EventGate answered 500 {title}: words"


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """Events only go where routes.yaml says."""
    async with FakeEventGate() as elsewhere:
        location = {"location": f"http://{elsewhere.address}/v1/events"}
        seen = await outcome(tmp_path, answer(302, "Found", headers=location))
        assert (seen.ends, seen.posts, elsewhere.requests) == ({"infrastructure": 2.0}, 2, [])
    assert seen.said == "it answered 302 with a redirect; redirects are not followed, so its url is wrong"


@pytest.mark.parametrize("reply", [stall, drip(b"HTTP/1.1 201 Created\r\n" * 20)], ids=["nothing", "drips"])
async def test_a_timeout_is_ambiguous(tmp_path: Path, reply: Reply) -> None:
    """The event may have been taken; the producer is told how long the sidecar waited."""
    seen = await outcome(tmp_path, reply)
    assert (seen.ends, seen.posts, seen.answer.status) == ({"ambiguous": 1.0}, 1, 503)
    assert seen.said == "no answer within 0.15 s; it may have been taken nevertheless"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(close, id="closed"),
        pytest.param(reset, id="reset"),
        pytest.param(raw(b"HTTP/1.1 201 Created\r\ncontent-le"), id="half a head, then nothing"),
        pytest.param(raw(b"SSH-2.0-OpenSSH_9.2\r\n"), id="another protocol"),
        pytest.param(raw(b"HTTP/1.1 201 Created\r\ncontent-length: x\r\n\r\n"), id="a wrong length"),
        pytest.param(answer(400, "Bad", b"x" * (MAX_REPLY_BYTES + 1)), id="an endless answer"),
    ],
)
async def test_an_incomplete_answer_is_ambiguous(tmp_path: Path, reply: Reply) -> None:
    """After the event was written; the producer is told so."""
    seen = await outcome(tmp_path, reply, timeouts={"attempt": "1s", "deadline": "2s"})
    assert (seen.ends, seen.posts, seen.answer.status) == ({"ambiguous": 1.0}, 1, 503)
    assert seen.said.endswith("; it may have been taken nevertheless")


async def test_a_status_without_its_body_is_ambiguous(tmp_path: Path) -> None:
    """A status alone is not a verdict."""

    async def half(request: object, line: object) -> None:
        await raw(b"HTTP/1.1 207 Some\r\ncontent-length: 100\r\n\r\n{")(request, line)  # type: ignore[arg-type]
        await close(request, line)  # type: ignore[arg-type]

    seen = await outcome(tmp_path, half)
    assert (seen.ends, seen.posts) == ({"ambiguous": 1.0}, 1)


async def test_a_refused_connection_is_never_sent(tmp_path: Path) -> None:
    """Nothing was sent, and the producer is told so within the deadline."""
    with refusing() as address:
        async with sidecar(to_one(address, on_ambiguous="fail", **SHORT), tmp_path) as running:
            seen = Outcome(await running.post(EVENT), await ends(running), 0)
    assert (seen.answer.status, seen.answer.headers["retry-after"]) == (503, "1")
    assert set(seen.ends) == {"never_sent"}
    assert "refused" in seen.said.lower()


async def test_http_proxy_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod's HTTP_PROXY is for the internet, and not for EventGate."""
    with refusing() as nobody:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{nobody}")
        seen = await outcome(tmp_path, accept)
    assert (seen.answer.status, seen.ends) == (201, {"answered": 1.0})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("60", 60.0), ("9" * 400, 300.0), ("²", None), ("٣", None), ("-1", None), ("1.5", None), ("", None)],
)
def test_retry_after_is_a_number_or_ignored(value: str, seconds: float | None) -> None:
    """ASCII digits only, and with a maximum."""
    assert _seconds(value) == seconds


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [(503, "Sorry", "Sorry"), (503, "", "Service Unavailable"), (799, "Odd", "Odd"), (799, "", "without a reason")],
)
def test_every_status_has_a_phrase(status: int, reason: str, words: str) -> None:
    """Its own, the standard one, or none."""
    assert phrase(Received(status, reason)) == words
