"""Promises of `ask`: bounded time and size, and clear errors."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable, Iterator

import httpx
import pytest
import respx

from sidecar.errors import SettingError
from sidecar.status.ask import MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES, SECONDS, explained_by, status_of, tapped
from tests.anyroutes import event_of
from tests.fakes import FakeEventGate, Line, Received, Reply, answer, close, raw, refusing, reset

HERE = "127.0.0.1:8888"
EVENT = event_of({"meta": {"stream": "s"}})
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
STATUS = f"http://{HERE}/_sidecar/status.json"
TAP = f"http://{HERE}/_sidecar/tap"


def refusal(address: str = HERE) -> str:
    """Return the error for a server that answers so."""
    with pytest.raises(SettingError) as raised:
        status_of(address)
    return str(raised.value)


def parts(chunks: Iterable[bytes]) -> httpx.Response:
    """Return an answer in these parts."""
    return httpx.Response(200, headers=STREAM, content=chunks)


@respx.mock
def test_explain_posts_the_event_unchanged() -> None:
    """And returns the answer."""
    route = respx.post(f"http://{HERE}/_sidecar/explain").respond(json={"upstream": "main"})
    assert explained_by(HERE, EVENT) == {"upstream": "main"}
    asked = route.calls.last.request
    assert (asked.content, asked.headers["content-type"]) == (EVENT.raw, "application/json")


@respx.mock
def test_the_status_is_requested() -> None:
    """By a GET."""
    respx.get(STATUS).respond(json={"level": "well"})
    assert status_of(HERE) == {"level": "well"}


@respx.mock
def test_listen_addresses_are_translated() -> None:
    """0.0.0.0 becomes 127.0.0.1, and IPv6 addresses have brackets."""
    respx.get(STATUS).respond(json=4)
    respx.get("http://[::1]:8888/_sidecar/status.json").respond(json=6)
    assert (status_of("0.0.0.0:8888"), status_of("[::1]:8888")) == (4, 6)


@respx.mock
def test_a_refusal_has_the_sidecars_message() -> None:
    """For any JSON."""
    respx.get(STATUS).respond(403, json={"detail": "not you"})
    assert refusal() == f"the sidecar at {HERE} refuses: not you"
    respx.get(STATUS).respond(503, json="busy")
    assert refusal() == f"the sidecar at {HERE} refuses: busy"


@respx.mock
@pytest.mark.parametrize("status", [200, 302, 403, 404])
def test_a_page_is_not_a_sidecars_answer(status: int) -> None:
    """Redirects are not followed either."""
    respx.get(STATUS).respond(status, html="<html>", headers={"location": "http://127.0.0.1:9/"})
    assert refusal() == f"what answers at {HERE} is not a sidecar"


@respx.mock
def test_an_endless_answer_is_given_up() -> None:
    """At the maximum size."""
    respx.get(STATUS).mock(return_value=parts(itertools.repeat(b" " * (MAX_ANSWER_BYTES // 4))))
    assert refusal() == f"what answers at {HERE} is not a sidecar"


@respx.mock
def test_an_answer_that_trickles_is_given_up() -> None:
    """Each part comes in time, but the whole does not."""
    times = itertools.count(0.0, SECONDS * 0.6)
    respx.get(STATUS).mock(return_value=parts(itertools.repeat(b" ")))
    with pytest.raises(SettingError) as raised:
        status_of(HERE, lambda: next(times))
    assert str(raised.value) == f"no sidecar answers at {HERE}: timed out; use --listen to say where it listens"


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", ":8888", "127.0.0.1:http", "127.0.0.1:70000", "a\nb:1"])
def test_an_invalid_address_is_reported(address: str) -> None:
    """Before any request."""
    assert refusal(address) == f"{address!r} is not an address; write host:port, such as 127.0.0.1:8888"


@respx.mock
def test_a_silent_sidecar_is_given_up() -> None:
    """In any phase."""
    for error in (httpx.ConnectTimeout, httpx.WriteTimeout, httpx.ReadTimeout):
        respx.get(STATUS).mock(side_effect=error("timed out"))
        assert refusal() == f"no sidecar answers at {HERE}: timed out; use --listen to say where it listens"


# --- on real sockets ---


def once(reply: Reply) -> Reply:
    """Answer once, and hang up."""

    async def replied(request: Received, line: Line) -> None:
        await reply(request, line)
        line.close()

    return replied


async def said(reply: Reply) -> str:
    """Return the error for a server that answers so, its address replaced by HERE."""
    async with FakeEventGate(health=reply) as fake:
        return (await asyncio.to_thread(refusal, fake.address)).replace(fake.address, HERE)


async def test_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are for this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with FakeEventGate(health=answer(200, "OK", "[]")) as fake:
        assert await asyncio.to_thread(status_of, fake.address) == []


def test_a_missing_sidecar_is_reported() -> None:
    """With what to do."""
    with refusing() as address:
        assert refusal(address) == (
            f"no sidecar answers at {address}: Connection refused; use --listen to say where it listens"
        )


async def test_other_servers_are_reported() -> None:
    """A sidecar that stops may hang up; another protocol is not a sidecar."""
    assert f"no sidecar answers at {HERE}: Server disconnected" in await said(close)
    assert f"no sidecar answers at {HERE}: Connection reset by peer; use --listen" in await said(reset)
    assert await said(raw(b"220 mail ESMTP\r\n\r\n")) == f"what answers at {HERE} is not a sidecar"


# --- the tap ---


def heard() -> list[object]:
    """Return the messages."""
    return list(tapped(HERE, "a*", ["failed", "invalid"]))


def complaint() -> str:
    """Return the error for a tap that cannot be read."""
    with pytest.raises(SettingError) as raised:
        heard()
    return str(raised.value)


def event_stream(*chunks: bytes, error: Exception | None = None) -> Iterator[bytes]:
    """Yield the parts of an answer, and then fail."""
    yield from chunks
    if error is not None:
        raise error


@respx.mock
def test_a_tap_is_read_to_its_end() -> None:
    """Only data matters; the filter is in the query."""
    text = 'retry: 2000\n\n:\n\ndata: {"event":"é"}\n\ndata: {"left_out":1,"lost":0}\n\nevent: end\ndata:\n\nignored'
    chunks = (bytes([each]) for each in text.encode())
    route = respx.get(TAP).mock(return_value=parts(chunks))
    assert heard() == [{"event": "é"}, {"left_out": 1, "lost": 0}]
    asked = route.calls.last.request.url.params
    assert asked.multi_items() == [("stream", "a*"), ("outcome", "failed"), ("outcome", "invalid")]


@respx.mock
def test_without_a_filter_the_query_is_empty() -> None:
    """All events are shown."""
    route = respx.get(TAP).respond(headers=STREAM, text="event: end\ndata:\n\n")
    assert list(tapped(HERE, None, [])) == []
    assert not route.calls.last.request.url.params


@respx.mock
def test_a_tap_that_does_not_start_is_reported() -> None:
    """It is off, or not a sidecar's, or nothing answers."""
    respx.get(TAP).respond(403, json={"detail": "the tap is off"})
    assert complaint() == f"the sidecar at {HERE} refuses: the tap is off"
    respx.get(TAP).respond(200, json={})
    assert complaint() == f"what answers at {HERE} is not a sidecar with a tap"
    respx.get(TAP).respond(404, html="<html>")
    assert complaint() == f"what answers at {HERE} is not a sidecar"


@respx.mock
@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (event_stream(b"data: {\n\n"), "JSONDecodeError("),
        (event_stream(b":\n\n"), "its answer breaks off"),
        (event_stream(b":\n\n", error=httpx.RemoteProtocolError("incomplete")), "its answer breaks off"),
        (event_stream(error=httpx.ReadTimeout("timed out")), "ReadTimeout("),
        (
            itertools.repeat(b"data: " + b" " * (MAX_MESSAGE_BYTES // 4)),
            "ValueError('a message is over",
        ),
    ],
    ids=["no JSON", "no end", "cut off", "silent", "too large"],
)
def test_a_tap_that_breaks_off_is_reported(stream: Iterator[bytes], words: str) -> None:
    """With the reason, if it is known."""
    respx.get(TAP).mock(return_value=parts(stream))
    assert complaint().startswith(f"the sidecar at {HERE} stopped: {words}")


@respx.mock
def test_a_tap_has_no_total_limit() -> None:
    """Only each message is limited, however it is split."""
    one = f"data: {json.dumps('x' * 70_000)}\n\n".encode()
    chunks = (one[at : at + 1000] for _ in range(20) for at in range(0, len(one), 1000))
    respx.get(TAP).mock(return_value=parts(itertools.chain(chunks, [b"event: end\ndata:\n\n"])))
    assert len(heard()) == 20


async def test_a_real_tap_that_breaks_off_is_reported() -> None:
    """In the middle of a chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    async with FakeEventGate(health=once(raw(head + b"3\r\n:\n\n\r\n"))) as fake:
        with pytest.raises(SettingError, match="its answer breaks off"):
            await asyncio.to_thread(lambda: list(tapped(fake.address, None, [])))
