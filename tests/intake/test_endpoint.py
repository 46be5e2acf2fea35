"""Promises of `endpoint`: which requests are taken, which are refused and how, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from sidecar.errors import BodyTooLarge, EmptyBody, MalformedBody
from sidecar.intake.answer import Answer
from sidecar.intake.body import MAX_BODY_BYTES
from sidecar.intake.budget import SMALL_BYTES, ByteBudget
from sidecar.intake.endpoint import MAX_REQUESTS, EventsEndpoint
from sidecar.intake.intake import Intake, OnAnswer, Post
from sidecar.intake.request import Limits
from sidecar.status.http import make_intake_app
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry
from tests.fakes import Client, connected, eventually, post
from tests.running import serving

JSON = "application/json; charset=utf-8"


LAST = b"0\r\n\r\n"
HEAD = 79
"""Bytes of the request line and headers of a POST of 10 to 99 bytes, as they are counted."""


class FakeIntake(Intake):
    """Records its posts; answers 201 at once, when released if it `holds`, or raises `error`."""

    def __init__(self) -> None:
        """It needs none of what the real one stands on."""
        self.taken: list[Post] = []
        self.finished = 0
        self.holds = False
        self._held: list[OnAnswer] = []
        self.error: Exception | None = None

    def take(self, post: Post, on_answer: OnAnswer, emit: object) -> None:
        """Take a POST."""
        del emit
        self.taken.append(post)
        if self.error is not None:
            raise self.error
        self._held.append(on_answer)
        if not self.holds:
            self.release()

    def release(self) -> None:
        """Answer what is held."""
        self.holds = False
        while self._held:
            self.finished += 1
            self._held.pop(0)(Answer(201, "All 1 out of 1 events were accepted.", "delivered"))


@dataclass
class Face:
    """The producers' listener on a socket, and the parts behind it."""

    intake: FakeIntake
    events: EventsEndpoint
    telemetry: Telemetry
    log: io.StringIO
    address: str = field(default="")

    def held(self) -> tuple[int, int]:
        """Return how many requests and bytes are in flight."""
        return self.events.in_flight, self.events.bytes_in_flight


@contextlib.asynccontextmanager
async def face(
    budget: ByteBudget | None = None, limits: Limits | None = None, max_requests: int = MAX_REQUESTS
) -> AsyncIterator[Face]:
    """Serve the producers' listener; afterwards nothing is in flight."""
    log = io.StringIO()
    intake, telemetry = FakeIntake(), Telemetry([], make_log(log))
    budget = budget or ByteBudget()
    events = EventsEndpoint(intake, telemetry, budget, max_requests=max_requests)
    async with serving(make_intake_app(), limits, events, budget) as address:
        shown = Face(intake, events, telemetry, log, address)
        yield shown
        await eventually(lambda: shown.held() == (0, 0))


@contextlib.asynccontextmanager
async def talking(limits: Limits | None = None) -> AsyncIterator[tuple[Client, Face]]:
    """One connection to the producers' listener."""
    async with face(limits=limits) as shown, connected(shown.address) as client:
        yield client, shown


def error(status: int, kind: str, title: str, detail: str, *, uri: str = "/v1/events", method: str = "POST") -> object:
    """Return the JSON of a refusal, in EventGate's shape."""
    return {"status": status, "type": kind, "title": title, "detail": detail, "method": method, "uri": uri}


def chunked(*chunks: bytes) -> bytes:
    """Return the start of a POST in chunks; `LAST` is its end."""
    head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join([head, b"transfer-encoding: chunked\r\n\r\n", *parts])


async def test_a_post_reaches_the_intake_complete() -> None:
    """The body, its type and encoding, and only the headers that EventGate needs."""
    async with talking() as (client, shown):
        await client.post(
            gzip.compress(b'{"a": 1}'),
            content_encoding="gzip",
            user_agent="model/1",
            x_request_id="r",
            traceparent="00-t",
            tracestate="s",
            cookie="no",
            authorization="no",
        )
        passed_on = (
            ("x-request-id", "r"),
            ("traceparent", "00-t"),
            ("tracestate", "s"),
            ("user-agent", "model/1"),
        )
        assert shown.intake.taken == [Post(b'{"a": 1}', hasty=False, headers=passed_on)]


async def test_the_first_of_duplicate_headers_counts() -> None:
    """As in Node, for example for two content types."""
    async with talking() as (client, shown):
        await client.send(post(b"{}").replace(b"\r\n\r\n", b"\r\ncontent-type: text/html\r\n\r\n"))
        await client.answer()
        assert [each.body for each in shown.intake.taken] == [b"{}"]


@pytest.mark.parametrize(
    ("query", "hasty"),
    [
        ("", False),
        ("?hasty=true", True),
        ("?hasty=0", True),
        ("?hasty=", False),
        ("?hasty", False),
        ("?x=1", False),
    ],
)
async def test_hasty_may_have_any_value(*, query: str, hasty: bool) -> None:
    """EventGate only checks that it is not empty."""
    async with talking() as (client, shown):
        await client.post(b"{}", f"/v1/events{query}")
        assert [each.hasty for each in shown.intake.taken] == [hasty]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/", "/V1/Events", "/v1/events?x=%00"])
async def test_the_path_is_matched_as_by_express(path: str) -> None:
    """In any case, with or without a trailing slash."""
    async with talking() as (client, _):
        assert (await client.post(b"{}", path)).status == 201


@pytest.mark.parametrize("path", ["/", "/nope?x=1", "/v1/events//", "/v1/events/x", "/v1/events%0A", "//v1/events"])
async def test_an_unknown_path_is_refused_in_eventgates_shape(path: str) -> None:
    """A POST to it is a 404 in JSON that says where to post events, and the connection stays open."""
    async with talking() as (client, _):
        answer = await client.post(b"{}", path)
        words = f"Cannot POST {path}; events are POSTed to /v1/events"
        assert (answer.status, answer.reason) == (404, "Not Found")
        assert answer.json == error(404, "not_found", "NotFound", words, uri=path)
        assert (answer.headers["content-type"], answer.headers["x-eventgate-sidecar"]) == (JSON, "refused")
        assert (await client.post(b"{}")).status == 201


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_an_unknown_method_is_refused_in_eventgates_shape(method: str) -> None:
    """Other methods than POST are a 404 in JSON, as from EventGate's router."""
    async with talking() as (client, _):
        await client.send(f"{method} /v1/events?x=1 HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        answer = await client.answer(method)
        assert (answer.status, answer.headers["x-eventgate-sidecar"]) == (404, "refused")
        assert (await client.post(b"{}")).status == 201
        if method != "HEAD":
            words = f"Cannot {method} /v1/events?x=1; events are POSTed to /v1/events"
            assert answer.json == error(404, "not_found", "NotFound", words, uri="/v1/events?x=1", method=method)


async def test_an_unreadable_body_is_refused_with_the_reason() -> None:
    """The intake's error becomes EventGate's 500 `internal_error`."""
    async with talking() as (client, shown):
        shown.intake.error = MalformedBody("Unexpected end of JSON input")
        answer = await client.post(b"{")
        assert (answer.status, answer.reason) == (500, "Internal Server Error")
        assert answer.json == error(500, "internal_error", "SyntaxError", "Unexpected end of JSON input")
        assert (await client.post(b"{")).status == 500


async def test_an_empty_body_is_refused_without_a_body() -> None:
    """EventGate reports it in the reason phrase only."""
    async with talking() as (client, shown):
        shown.intake.error = EmptyBody()
        answer = await client.post(b"")
        reason = "Request body was empty. Must provide JSON encoded events."
        assert (answer.status, answer.reason, answer.body) == (400, reason, b"")
        assert answer.headers == {"x-eventgate-sidecar": "refused", "content-length": "0"}


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, MAX_BODY_BYTES + 3_000_000])
async def test_a_body_over_10_mb_is_refused(size: int) -> None:
    """It is read to its end, so that its sender can read the refusal, and the connection stays open."""
    async with talking() as (client, shown):
        answer = await client.post(bytes(size))
        assert answer.json == error(500, "internal_error", "PayloadTooLargeError", "request entity too large")
        assert (await client.post(b"{}")).status == 201
        assert [each.body for each in shown.intake.taken] == [b"{}"]


async def test_a_chunked_body_over_10_mb_is_refused() -> None:
    """Although its length is not announced."""
    async with talking() as (client, shown):
        await client.send(chunked(*[bytes(1_000_000)] * 11) + LAST)
        assert (await client.answer()).json == error(
            500, "internal_error", "PayloadTooLargeError", "request entity too large"
        )
        assert shown.intake.taken == []


async def test_a_body_of_exactly_10_mb_is_taken() -> None:
    """The limit is inclusive."""
    async with talking() as (client, shown):
        assert (await client.post(bytes(MAX_BODY_BYTES))).status == 201
        assert [len(each.body) for each in shown.intake.taken] == [MAX_BODY_BYTES]


async def test_an_endless_body_is_cut_off() -> None:
    """It is neither read for ever nor kept in memory."""
    async with talking() as (client, shown):
        await client.send(chunked())
        million = b"%x\r\n%b\r\n" % (1_000_000, bytes(1_000_000))
        for _ in range(100):
            await client.send(million)
            assert shown.events.bytes_in_flight <= HEAD + MAX_BODY_BYTES
        await client.rest()
        assert shown.intake.taken == []


@pytest.mark.parametrize("start", [post(b"half a body")[:-3], chunked(b"half")], ids=["announced", "chunked"])
async def test_a_slow_body_is_refused(start: bytes) -> None:
    """After its time, and the connection ends."""
    async with talking(Limits(body_seconds=0.05)) as (client, shown):
        await client.send(start)
        answer = await client.answer()
        assert (answer.status, answer.reason, answer.headers["connection"]) == (
            408,
            "Request Timeout",
            "close",
        )
        assert answer.json == error(408, "timeout", "RequestTimeout", "the body was not complete within 0.05 s")
        assert await client.rest() == b""
        assert shown.intake.taken == []


async def test_too_many_requests_get_a_503() -> None:
    """With `Retry-After: 1`; the others are answered, and then the next one too."""
    async with face(max_requests=2) as shown, contextlib.AsyncExitStack() as stack:
        shown.intake.holds = True
        held = [await stack.enter_async_context(connected(shown.address)) for _ in range(2)]
        for client in held:
            await client.send(post(b"{}"))
        await eventually(lambda: shown.events.in_flight == 2)
        one_more = await stack.enter_async_context(connected(shown.address))
        answer = await one_more.post(b"{}")
        words = "2 requests are being answered already; try again in a second"
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json == error(503, "overloaded", "ServiceUnavailable", words)
        shown.intake.release()
        assert [(await client.answer()).status for client in held] == [201, 201]
        assert (await held[0].post(b"{}")).status == 201


@pytest.mark.parametrize("data", [post(b"x" * 60), chunked(b"x" * 60) + LAST], ids=["announced", "chunked"])
async def test_too_many_bytes_get_a_503(data: bytes) -> None:
    """Whether or not the length was announced."""
    async with face(ByteBudget(2 * HEAD + 119, 0)) as shown, connected(shown.address) as first:
        shown.intake.holds = True
        await first.send(post(b"x" * 60))
        await eventually(lambda: shown.held() == (1, HEAD + 60))
        async with connected(shown.address) as second:
            await second.send(data)
            answer = await second.answer()
        words = f"all of the {2 * HEAD + 119} bytes for requests in flight are in use; try again in a second"
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json == error(503, "overloaded", "ServiceUnavailable", words)
        shown.intake.release()
        assert (await first.answer()).status == 201


async def test_a_compressed_body_counts_with_its_decompressed_size() -> None:
    """And is refused if there is no room for that."""
    body = gzip.compress(bytes(1000))
    async with face(ByteBudget(1500, 0)) as shown, connected(shown.address) as first:
        shown.intake.holds = True
        await first.send(post(body, content_encoding="gzip"))
        await eventually(lambda: shown.held() == (1, HEAD + len("content-encoding: gzip\r\n") + 1000))
        async with connected(shown.address) as second:
            answer = await second.post(body, content_encoding="gzip")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert shown.held() == (1, HEAD + len("content-encoding: gzip\r\n") + 1000)
        shown.intake.release()
        assert (await first.answer()).status == 201


async def test_large_bodies_leave_room_for_small_ones() -> None:
    """When large bodies get 503 a small one is still accepted."""
    async with face(ByteBudget(3 * SMALL_BYTES, kept_free=SMALL_BYTES)) as shown, contextlib.AsyncExitStack() as stack:
        shown.intake.holds = True
        first, second, third = [await stack.enter_async_context(connected(shown.address)) for _ in range(3)]
        await first.send(post(bytes(SMALL_BYTES + 1)))
        await eventually(lambda: len(shown.intake.taken) == 1)
        assert (await second.post(bytes(SMALL_BYTES + 1))).status == 503
        await third.send(post(bytes(SMALL_BYTES)))
        await eventually(lambda: len(shown.intake.taken) == 2)
        shown.intake.release()
        assert [(await client.answer()).status for client in (first, third)] == [201, 201]


async def test_large_bodies_are_taken_one_at_a_time() -> None:
    """The loop turns between two of them, so that others are served; all are answered."""
    async with face() as shown, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(shown.address)) for _ in range(3)]
        for client in clients:
            await client.send(post(bytes(SMALL_BYTES + 1)))
        assert [(await client.answer()).status for client in clients] == [201] * 3


@pytest.mark.parametrize(
    "data",
    [post(b"whole body")[:-5], chunked(b"half"), post(bytes(5_000_000))[:-5]],
    ids=["a bit", "chunked", "big"],
)
async def test_a_client_that_leaves_during_its_body_leaves_nothing(data: bytes) -> None:
    """The incomplete request is dropped."""
    async with face() as shown:
        async with connected(shown.address) as client:
            await client.send(data)
            await eventually(lambda: shown.events.in_flight == 1)
        await eventually(lambda: shown.held() == (0, 0))
        assert (shown.intake.taken, shown.log.getvalue()) == ([], "")


async def test_a_client_that_leaves_does_not_cancel_its_delivery() -> None:
    """A complete request's events are delivered, even if its client is gone."""
    async with face() as shown:
        shown.intake.holds = True
        async with connected(shown.address) as client:
            await client.send(post(b"{}"))
            await eventually(lambda: len(shown.intake.taken) == 1)
        shown.intake.release()
        await eventually(lambda: shown.intake.finished == 1)


async def test_a_bug_is_answered_and_logged() -> None:
    """With a 500 in EventGate's shape and a log line; the next request is served."""
    async with talking() as (client, shown):
        shown.intake.error = ZeroDivisionError("a bug")
        words = "the sidecar had an internal error; its log has more"
        answer = await client.post(b"{}")
        assert (answer.status, answer.json) == (500, error(500, "internal_error", "Error", words))
        shown.intake.error = None
        assert (await client.post(b"{}")).status == 201
        logged = [json.loads(line)["eventgate_sidecar"] for line in shown.log.getvalue().splitlines()]
        assert logged == [{"where": "intake", "error": "ZeroDivisionError: a bug"}]


async def test_every_answer_is_counted_by_its_status() -> None:
    """The metric includes accepted and refused requests."""
    async with talking() as (client, shown):
        await client.post(b"{}")
        await client.post(b"{}")
        shown.intake.error = EmptyBody()
        await client.post(b"")
        counted = shown.telemetry.exposition().decode().splitlines()
    found = [line for line in counted if line.startswith("eventgate_sidecar_requests_total")]
    assert found == [
        'eventgate_sidecar_requests_total{status="201"} 2.0',
        'eventgate_sidecar_requests_total{status="400"} 1.0',
    ]


class InParts(FakeIntake):
    """Works in three parts, of which the last one answers, or raises `error`."""

    def take(self, post: Post, on_answer: OnAnswer, emit: object) -> Iterator[None]:  # type: ignore[override]
        """Take a POST."""
        del emit
        self.taken.append(post)
        yield
        yield
        if self.error is not None:
            raise self.error
        on_answer(Answer(201, f"{len(self.taken)}", "delivered"))


@pytest.mark.parametrize("size", [2, SMALL_BYTES + 1], ids=["small", "large"])
@pytest.mark.parametrize(("wrong", "status"), [(None, 201), (BodyTooLarge("too wide"), 500), (KeyError("a bug"), 500)])
async def test_events_may_be_taken_in_parts(size: int, wrong: Exception | None, status: int) -> None:
    """Each request gets its answer, in turn, even if a part fails."""
    async with face() as shown, contextlib.AsyncExitStack() as stack:
        shown.events.intake = intake = InParts()
        intake.error = wrong
        clients = [await stack.enter_async_context(connected(shown.address)) for _ in range(3)]
        for client in clients:
            await client.send(post(bytes(size)))
        assert [(await client.answer()).status for client in clients] == [status] * 3
