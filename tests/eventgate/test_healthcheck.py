"""Promises of `healthcheck`: its result for every kind of endpoint, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator

import pytest

from sidecar.eventgate.healthcheck import CheckResult, Phase, Target, check
from sidecar.eventgate.trust import make_ssl_context
from tests.fakes import (
    Authority,
    FakeEventGate,
    Line,
    Received,
    Reply,
    answer,
    close,
    drip,
    hanging,
    raw,
    refusing,
    reset,
    stall,
)

SOON = 0.1
"""Seconds; for checks that are meant to run out of time."""
SECONDS = 5.0
"""For those that are not."""
DAY = 86400.0


def target(authority: str, tls: ssl.SSLContext | None = None, path: str = "/_info", name: str = "eqiad.test") -> Target:
    """Return the target `host:port`."""
    address, _, port = authority.rpartition(":")
    return Target(address, int(port), f"{name}:4492", path, name, tls)


async def flood_of_headers(_: Received, line: Line) -> None:
    """Write headers endlessly."""
    line.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        line.write(b"x-more: and more\r\n" * 100)
        await line.drain()


async def flood_of_1xx(_: Received, line: Line) -> None:
    """Write interim answers endlessly."""
    while True:
        line.write(b"HTTP/1.1 103 Hints\r\nlink: </x>\r\n\r\n" * 100)
        await line.drain()


async def flood_of_body(_: Received, line: Line) -> None:
    """Write a body endlessly."""
    line.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
    while True:
        line.write(b"x" * 65536)
        await line.drain()


def cut(data: bytes) -> Reply:
    """Write these bytes, then hang up."""

    async def reply(_: Received, line: Line) -> None:
        line.write(data)
        line.close()

    return reply


def hearing(heard: list[Received]) -> Reply:
    """Answer 200, and record the request."""

    async def reply(request: Received, line: Line) -> None:
        heard.append(request)
        await answer(200)(request, line)

    return reply


@contextlib.asynccontextmanager
async def greeting(words: bytes) -> AsyncIterator[str]:
    """Serve another protocol, which sends `words` to each client and then nothing; yield its address."""
    done = asyncio.Event()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await done.wait()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done.set()


@pytest.mark.parametrize(
    ("reply", "passed", "words"),
    [
        pytest.param(answer(200, "OK", "{}"), True, "answers", id="200"),
        pytest.param(answer(200), True, "answers", id="200 without a body"),
        pytest.param(cut(b"HTTP/1.0 200 OK\r\n\r\n{}"), True, "answers", id="200 that ends with the connection"),
        pytest.param(cut(b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), True, "answers", id="200 after a 103"),
        pytest.param(flood_of_body, True, "answers", id="200 with an endless body"),
        pytest.param(answer(204), False, "answers 204", id="204"),
        pytest.param(answer(301, headers={"location": "/"}), False, "answers 301", id="301"),
        pytest.param(answer(404, "Not Found"), False, "answers 404", id="404"),
        pytest.param(answer(503, "Sorry", "no healthy upstream"), False, "answers 503", id="503"),
        pytest.param(close, False, "HTTP fails: closes the connection without an answer", id="closes"),
        pytest.param(reset, False, "HTTP fails: Connection reset by peer", id="resets"),
        pytest.param(cut(b"HTTP/1.1 20"), False, "HTTP fails: closes the connection without an answer", id="cut early"),
        pytest.param(
            cut(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"),
            False,
            "HTTP fails: peer closed connection without sending complete message body (received 3 bytes, expected 9)",
            id="cut in the body",
        ),
        pytest.param(
            raw(b"220 smtp.test ESMTP\r\n\r\n"),
            False,
            "HTTP fails: illegal status line: bytearray(b'220 smtp.test ESMTP')",
            id="no HTTP",
        ),
        pytest.param(
            raw(b"x" * 9999 + b"\r\n\r\n"),
            False,
            "HTTP fails: illegal status line: bytearray(b'" + "x" * 167,
            id="much of no HTTP",
        ),
        pytest.param(flood_of_headers, False, "HTTP fails: Receive buffer too long", id="endless headers"),
        pytest.param(
            flood_of_1xx, False, "HTTP fails: over 65536 bytes arrived without an answer", id="a flood of 1xx"
        ),
        pytest.param(
            raw(b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"),
            False,
            "HTTP fails: Received server _SWITCH_UPGRADE event without a pending proposal",
            id="101",
        ),
        pytest.param(
            raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18) + b"\r\n\r\n"),
            False,
            "HTTP fails: illegal status line: bytearray(b'",
            id="HTTP/2 only",
        ),
        pytest.param(
            cut(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(bytes(30_000_000))),
            True,
            "answers",
            id="200 with a gzip bomb, which is not inflated",
        ),
    ],
)
async def test_only_a_200_passes(reply: Reply, *, passed: bool, words: str) -> None:
    """Any other answer is described; both phases are timed."""
    async with FakeEventGate(health=reply) as gate:
        result = await check(target(gate.address), SECONDS)
    assert (result.passed, result.words[: len(words)]) == (passed, words)
    assert set(result.seconds) == ({Phase.TCP, Phase.HTTP} if words.startswith("answers") else {Phase.TCP})
    assert all(0 <= seconds < SECONDS for seconds in result.seconds.values())
    assert (result.server, result.mesh, "mesh" in result.words, result.expires) == ("", False, False, None)


async def test_the_request_is_one_get() -> None:
    """Of the path, with the endpoint's name, on a new connection."""
    heard: list[Received] = []
    async with FakeEventGate(health=hearing(heard)) as gate:
        await check(target(gate.address, path="/healthz?deep=1"), SECONDS)
        await check(target(gate.address, path="/healthz?deep=1"), SECONDS)
    headers = {"host": "eqiad.test:4492", "user-agent": "eventgate-sidecar", "connection": "close"}
    assert (gate.connections, heard) == (2, [Received("GET", "/healthz?deep=1", headers, b"")] * 2)


@pytest.mark.parametrize(
    ("headers", "status", "expected"),
    [
        pytest.param({"server": "envoy"}, 200, (True, "answers", "envoy", True), id="envoy"),
        pytest.param({"server": "istio-envoy"}, 200, (True, "answers", "istio-envoy", True), id="istio"),
        pytest.param({"x-envoy-upstream-service-time": "1"}, 200, (True, "answers", "", True), id="envoy behind"),
        pytest.param({"server": "nginx"}, 200, (True, "answers", "nginx", False), id="no mesh"),
        pytest.param(
            {"server": "envoy"},
            503,
            (False, "answers 503 (a service mesh's answer, not EventGate's)", "envoy", True),
            id="envoy alone",
        ),
    ],
)
async def test_a_service_mesh_is_recognised(
    headers: dict[str, str], status: int, expected: tuple[bool, str, str, bool]
) -> None:
    """The result says so, and that the mesh's refusal is not EventGate's."""
    async with FakeEventGate(health=answer(status, headers=headers)) as gate:
        result = await check(target(gate.address), SECONDS)
    assert (result.passed, result.words, result.server, result.mesh) == expected


# --- no answer ---


async def test_a_refused_connection() -> None:
    """It is reported at once, with no phase completed."""
    with refusing() as authority:
        assert await check(target(authority), SECONDS) == CheckResult(words="refuses the connection")


async def test_connecting_that_hangs() -> None:
    """It is reported at the timeout."""
    with hanging() as authority:
        result = await check(target(authority), SOON)
    assert result == CheckResult(words="no connection within 0.1 s: hangs")


async def test_a_server_that_hangs() -> None:
    """It accepts the connection and sends nothing, like a stopped process."""
    async with FakeEventGate(health=stall) as gate:
        result = await check(target(gate.address), SOON)
    assert (result.passed, result.words, set(result.seconds)) == (
        False,
        "connects, then silent for 0.1 s: hangs",
        {Phase.TCP},
    )


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(drip(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), id="in its head"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), id="in its body"),
    ],
)
async def test_an_answer_that_does_not_end(reply: Reply) -> None:
    """The timeout is for the whole check, even if bytes keep coming."""
    async with FakeEventGate(health=reply) as gate:
        start = asyncio.get_running_loop().time()
        result = await check(target(gate.address), SOON)
        assert asyncio.get_running_loop().time() - start < 10 * SOON
    assert (result.passed, result.words) == (False, "starts to answer, but does not finish within 0.1 s: too slow")


@pytest.mark.parametrize(
    ("path", "name"), [("/with space", "eqiad.test"), ("/\N{SNOWMAN}", "eqiad.test"), ("/", "a\r\nb")], ids=ascii
)
async def test_an_invalid_path_or_name_fails_the_check(path: str, name: str) -> None:
    """It ends nothing else."""
    heard: list[Received] = []
    async with FakeEventGate(health=hearing(heard)) as gate:
        result = await check(target(gate.address, path=path, name=name), SECONDS)
    assert (result.passed, result.words[:11], heard) == (False, "HTTP fails:", [])


async def test_an_unreachable_network() -> None:
    """The system's message is passed on, without the address."""
    result = await check(target("255.255.255.255:80"), SECONDS)
    assert (result.passed, result.words) == (False, "TCP fails: Network is unreachable")


# --- TLS ---


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that the checks trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """A context that verifies against that CA."""
    return make_ssl_context(str(authority.ca_file))


async def test_a_valid_certificate(authority: Authority, trusting: ssl.SSLContext) -> None:
    """The handshake is timed, and the expiry is reported."""
    async with FakeEventGate(health=answer(200), tls=authority.server("eqiad.test", days=40)) as gate:
        result = await check(target(gate.address, trusting), SECONDS)
    made = (authority.ca_file.parent / "server.pem").stat().st_mtime
    assert (result.passed, result.words, set(result.seconds)) == (True, "answers", set(Phase))
    assert result.expires == pytest.approx(made + 40 * DAY, abs=60)


@pytest.mark.parametrize(
    ("name", "days", "signed", "words"),
    [
        pytest.param(
            "codfw.test", 2, True, "Hostname mismatch, certificate is not valid for 'eqiad.test'.", id="another name"
        ),
        pytest.param("eqiad.test", -1, True, "certificate has expired", id="expired"),
        pytest.param("eqiad.test", 2, False, "self-signed certificate", id="self-signed"),
    ],
)
async def test_a_certificate_that_is_not_accepted(
    authority: Authority, trusting: ssl.SSLContext, name: str, days: int, *, signed: bool, words: str
) -> None:
    """The reason is OpenSSL's."""
    heard: list[Received] = []
    async with FakeEventGate(health=hearing(heard), tls=authority.server(name, days=days, signed=signed)) as gate:
        result = await check(target(gate.address, trusting), SECONDS)
    assert (result.passed, result.words) == (False, f"its certificate is not accepted: {words}")
    assert (set(result.seconds), result.expires, heard) == ({Phase.TCP}, None, [])


async def test_a_handshake_that_hangs(trusting: ssl.SSLContext) -> None:
    """The server accepts the connection but does not start TLS."""
    async with greeting(b"") as silent:
        result = await check(target(silent, trusting), SOON)
    assert (result.passed, result.words, set(result.seconds)) == (
        False,
        "connects, then silent in the TLS handshake for 0.1 s: hangs",
        {Phase.TCP},
    )


async def test_a_server_that_hangs_after_the_handshake(authority: Authority, trusting: ssl.SSLContext) -> None:
    """The request is sent, and no answer comes."""
    async with FakeEventGate(health=stall, tls=authority.server("eqiad.test")) as gate:
        result = await check(target(gate.address, trusting), 2 * SOON)
    assert (result.words, set(result.seconds)) == ("connects, then silent for 0.2 s: hangs", {Phase.TCP, Phase.TLS})


async def test_a_server_without_tls(trusting: ssl.SSLContext) -> None:
    """Another protocol in answer to the handshake is named."""
    async with greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain:
        result = await check(target(plain, trusting), SECONDS)
    assert (result.passed, result.words) == (False, "TLS fails: it does not speak TLS (WRONG_VERSION_NUMBER)")


async def test_a_server_that_ends_the_handshake(trusting: ssl.SSLContext) -> None:
    """As one does that has no TLS 1.2."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        result = await check(target(address, trusting), SECONDS)
    assert result.words == "TLS fails: it closes the connection during the handshake, as a server without TLS 1.2 does"


async def test_checks_close_their_connections(authority: Authority, trusting: ssl.SSLContext) -> None:
    """However a check ends."""
    async with FakeEventGate(health=stall, tls=authority.server("eqiad.test")) as gate:
        await check(target(gate.address, trusting), SOON)
        async with asyncio.timeout(SECONDS):
            while gate._lines:  # noqa: ASYNC110  the fake has no event for it
                await asyncio.sleep(0.005)
