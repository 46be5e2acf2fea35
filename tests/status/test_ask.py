"""Promises of `ask`: a running sidecar is asked in a bounded time, and what is none is told from it."""

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
    """What is said of whoever listens there, asked for the status."""
    with pytest.raises(SettingError) as raised:
        status_of(address)
    return str(raised.value)


def parts(chunks: Iterable[bytes]) -> httpx.Response:
    """Return an answer that comes in these parts."""
    return httpx.Response(200, headers=STREAM, content=chunks)


@respx.mock
def test_the_event_goes_to_the_sidecar_as_it_is() -> None:
    """Its bytes, to the one place that explains; the answer is what it says."""
    route = respx.post(f"http://{HERE}/_sidecar/explain").respond(json={"upstream": "main"})
    assert explained_by(HERE, EVENT) == {"upstream": "main"}
    asked = route.calls.last.request
    assert (asked.content, asked.headers["content-type"]) == (EVENT.raw, "application/json")


@respx.mock
def test_the_status_is_asked_for() -> None:
    """By a GET; the answer is what the sidecar says."""
    respx.get(STATUS).respond(json={"level": "well"})
    assert status_of(HERE) == {"level": "well"}


@respx.mock
def test_a_sidecar_that_listens_everywhere_is_asked_here() -> None:
    """0.0.0.0 is an address to listen on, and none to call somebody by; IPv6 has brackets."""
    respx.get(STATUS).respond(json=4)
    respx.get("http://[::1]:8888/_sidecar/status.json").respond(json=6)
    assert (status_of("0.0.0.0:8888"), status_of("[::1]:8888")) == (4, 6)


@respx.mock
def test_a_refusal_is_told_in_the_words_of_the_sidecar() -> None:
    """Whatever JSON it is."""
    respx.get(STATUS).respond(403, json={"detail": "not you"})
    assert refusal() == f"the sidecar at {HERE} refuses: not you"
    respx.get(STATUS).respond(503, json="busy")
    assert refusal() == f"the sidecar at {HERE} refuses: busy"


@respx.mock
@pytest.mark.parametrize("status", [200, 302, 403, 404])
def test_a_page_for_people_is_not_a_sidecars(status: int) -> None:
    """Nobody is sent elsewhere, either."""
    respx.get(STATUS).respond(status, html="<html>", headers={"location": "http://127.0.0.1:9/"})
    assert refusal() == f"what answers at {HERE} is not a sidecar"


@respx.mock
def test_an_answer_without_an_end_is_not_read_to_the_end() -> None:
    """What is over the bound is no sidecar's."""
    respx.get(STATUS).mock(return_value=parts(itertools.repeat(b" " * (MAX_ANSWER_BYTES // 4))))
    assert refusal() == f"what answers at {HERE} is not a sidecar"


@respx.mock
def test_an_answer_that_trickles_is_given_up() -> None:
    """Each part comes in time, and the whole does not."""
    times = itertools.count(0.0, SECONDS * 0.6)
    respx.get(STATUS).mock(return_value=parts(itertools.repeat(b" ")))
    with pytest.raises(SettingError) as raised:
        status_of(HERE, lambda: next(times))
    assert str(raised.value) == f"no sidecar answers at {HERE}: timed out; use --listen to say where it listens"


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", ":8888", "127.0.0.1:http", "127.0.0.1:70000", "a\nb:1"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    """Before anybody is asked."""
    assert refusal(address) == f"{address!r} is not an address; write host:port, such as 127.0.0.1:8888"


@respx.mock
def test_a_sidecar_that_is_silent_is_given_up() -> None:
    """Whatever it was that took too long."""
    for error in (httpx.ConnectTimeout, httpx.WriteTimeout, httpx.ReadTimeout):
        respx.get(STATUS).mock(side_effect=error("timed out"))
        assert refusal() == f"no sidecar answers at {HERE}: timed out; use --listen to say where it listens"


# --- on real sockets ---


def once(reply: Reply) -> Reply:
    """Answer so, and hang up."""

    async def replied(request: Received, line: Line) -> None:
        await reply(request, line)
        line.close()

    return replied


async def said(reply: Reply) -> str:
    """What is said of a server that answers so, whose address is HERE."""
    async with FakeEventGate(health=reply) as fake:
        return (await asyncio.to_thread(refusal, fake.address)).replace(fake.address, HERE)


async def test_no_proxy_is_asked_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: it is about this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with FakeEventGate(health=answer(200, "OK", "[]")) as fake:
        assert await asyncio.to_thread(status_of, fake.address) == []


def test_nobody_there_is_told() -> None:
    """With what to do about it."""
    with refusing() as address:
        assert refusal(address) == (
            f"no sidecar answers at {address}: Connection refused; use --listen to say where it listens"
        )


async def test_whoever_hangs_up_or_speaks_otherwise_is_told() -> None:
    """A sidecar that stops may hang up; who does not speak HTTP is none."""
    assert f"no sidecar answers at {HERE}: Server disconnected" in await said(close)
    assert f"no sidecar answers at {HERE}: Connection reset by peer; use --listen" in await said(reset)
    assert await said(raw(b"220 mail ESMTP\r\n\r\n")) == f"what answers at {HERE} is not a sidecar"


# --- the tap ---


def heard() -> list[object]:
    """Return what passes."""
    return list(tapped(HERE, "a*", ["failed", "invalid"]))


def complaint() -> str:
    """What is said of a tap that cannot be read."""
    with pytest.raises(SettingError) as raised:
        heard()
    return str(raised.value)


def event_stream(*chunks: bytes, error: Exception | None = None) -> Iterator[bytes]:
    """Yield the parts of an answer, and then fail."""
    yield from chunks
    if error is not None:
        raise error


@respx.mock
def test_what_passes_is_read_to_its_end() -> None:
    """Comments and all else but data are nothing to us; what is wanted stands in the query."""
    text = 'retry: 2000\n\n:\n\ndata: {"event":"é"}\n\ndata: {"left_out":1,"lost":0}\n\nevent: end\ndata:\n\nignored'
    chunks = (bytes([each]) for each in text.encode())
    route = respx.get(TAP).mock(return_value=parts(chunks))
    assert heard() == [{"event": "é"}, {"left_out": 1, "lost": 0}]
    asked = route.calls.last.request.url.params
    assert asked.multi_items() == [("stream", "a*"), ("outcome", "failed"), ("outcome", "invalid")]


@respx.mock
def test_without_wishes_everything_is_heard() -> None:
    """No stream and no outcome is asked for."""
    route = respx.get(TAP).respond(headers=STREAM, text="event: end\ndata:\n\n")
    assert list(tapped(HERE, None, [])) == []
    assert not route.calls.last.request.url.params


@respx.mock
def test_a_tap_that_does_not_begin_is_told() -> None:
    """It is off, or it is no sidecar's, or none at all."""
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
def test_a_tap_that_ends_before_its_end_is_told(stream: Iterator[bytes], words: str) -> None:
    """With why, as far as that is known."""
    respx.get(TAP).mock(return_value=parts(stream))
    assert complaint().startswith(f"the sidecar at {HERE} stopped: {words}")


@respx.mock
def test_however_much_passes_it_is_not_too_much() -> None:
    """What is bounded is each message, however it is cut into parts."""
    one = f"data: {json.dumps('x' * 70_000)}\n\n".encode()
    chunks = (one[at : at + 1000] for _ in range(20) for at in range(0, len(one), 1000))
    respx.get(TAP).mock(return_value=parts(itertools.chain(chunks, [b"event: end\ndata:\n\n"])))
    assert len(heard()) == 20


async def test_a_real_tap_that_breaks_off_is_told() -> None:
    """In the middle of a chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    async with FakeEventGate(health=once(raw(head + b"3\r\n:\n\n\r\n"))) as fake:
        with pytest.raises(SettingError, match="its answer breaks off"):
            await asyncio.to_thread(lambda: list(tapped(fake.address, None, [])))
