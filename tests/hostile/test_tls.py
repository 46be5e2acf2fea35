"""Broken TLS: no event is sent, no health check passes, and the message has the fix."""

from __future__ import annotations

import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from sidecar.eventgate.healthcheck import Target, check
from sidecar.eventgate.trust import make_ssl_context
from tests.fakes import PATIENCE, Authority, FakeEventGate, Line, eventually
from tests.hostile.upstreams import EVENT, Bytes, descriptors, ends, said, speaking
from tests.running import sidecar, to_one

NAME = "eqiad.test"
"""What the certificate has to be valid for: `tls.server_name`, as 127.0.0.1 is what is dialled."""
SHORT: dict[str, Any] = {"timeouts": {"connect": "200ms", "attempt": "300ms", "deadline": "500ms"}}
CLOSES = "TLS fails: it closes the connection during the handshake, as a server without TLS 1.2 does"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority in `tls.ca_file`."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return another authority."""
    return Authority(tmp_path_factory.mktemp("other"))


def old(authority: Authority) -> ssl.SSLContext:
    """Return what a server needs that speaks nothing newer than TLS 1.1."""
    context = authority.server(NAME)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def hangs(_reader: Bytes, _line: Line) -> None:
    """Never say a word."""


async def closes(reader: Bytes, line: Line) -> None:
    """Hang up once the client has said its hello."""
    await reader.read(1)
    line.close()


async def hangs_midway(reader: Bytes, line: Line) -> None:
    """Begin a handshake record, and never go on."""
    await reader.read(1)
    line.write(b"\x16\x03\x03\x00\x7a\x02\x00")


async def endless_handshake(reader: Bytes, line: Line) -> None:
    """Send handshake records that never make a message, for as long as anyone takes them."""
    await reader.read(1)
    line.write(b"\x16\x03\x03\x40\x00\x0b\xff\xff\xfc" + bytes(16380))
    while not line.is_closing():
        line.write(b"\x16\x03\x03\x40\x00" + bytes(16384))
        await line.drain()


async def speaks_http(reader: Bytes, line: Line) -> None:
    """Answer the hello in plain HTTP."""
    await reader.read(1)
    line.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def alerts_old(reader: Bytes, line: Line) -> None:
    """Refuse the client's version as OpenSSL does it: alert 70."""
    await reader.read(1)
    line.write(b"\x15\x03\x01\x00\x02\x02\x46")
    line.close()


Peer = Callable[[Authority, Authority], AbstractAsyncContextManager[str]]


def showing(make: Callable[[Authority, Authority], ssl.SSLContext]) -> Peer:
    """Serve an EventGate with this TLS; it fails the test if any event comes."""

    @contextlib.asynccontextmanager
    async def serve(ours: Authority, other: Authority) -> AsyncIterator[str]:
        async with FakeEventGate(tls=make(ours, other)) as gate:
            yield gate.address
            assert gate.requests == [], "an event left without a certificate that holds"

    return serve


def doing(speak: Callable[[Bytes, Line], Any]) -> Peer:
    """Serve something that speaks so."""
    return lambda _ours, _other: speaking(speak)


PEERS: dict[str, tuple[Peer, str]] = {
    "wrong name": (
        showing(lambda ours, _: ours.server("codfw.test")),
        f"its certificate is not accepted: Hostname mismatch, certificate is not valid for '{NAME}'.",
    ),
    "certificate for the IP only": (
        showing(lambda ours, _: ours.server("127.0.0.1")),
        f"its certificate is not accepted: Hostname mismatch, certificate is not valid for '{NAME}'.",
    ),
    "expired": (
        showing(lambda ours, _: ours.server(NAME, days=-1)),
        "its certificate is not accepted: certificate has expired",
    ),
    "not yet valid": (
        showing(lambda ours, _: ours.server(NAME, begins="20990101000000Z")),
        "its certificate is not accepted: certificate is not yet valid",
    ),
    "self-signed": (
        showing(lambda ours, _: ours.server(NAME, signed=False)),
        "its certificate is not accepted: self-signed certificate",
    ),
    "unknown CA": (
        showing(lambda _, other: other.server(NAME)),
        "its certificate is not accepted: unable to get local issuer certificate",
    ),
    "TLS 1.0 and 1.1 only": (showing(lambda ours, _: old(ours)), CLOSES),
    "TLS 1.0 and 1.1 only, and says so": (
        doing(alerts_old),
        "TLS fails: it does not support TLS 1.2 or newer (TLSV1_ALERT_PROTOCOL_VERSION)",
    ),
    "close in the handshake": (doing(closes), CLOSES),
    "plain HTTP": (doing(speaks_http), "TLS fails: it does not speak TLS (WRONG_VERSION_NUMBER)"),
    "endless handshake": (doing(endless_handshake), "TLS fails: UNEXPECTED_MESSAGE"),
    "hangs in the handshake": (doing(hangs), ""),
    "hangs midway in the handshake": (doing(hangs_midway), ""),
}
"""What is shown → what both a POST and a health check say of it; nothing: that time was up."""
peers = pytest.mark.parametrize(("peer", "words"), [pytest.param(*case, id=name) for name, case in PEERS.items()])


@peers
async def test_nothing_is_sent_over_broken_tls(
    tmp_path: Path, authority: Authority, stranger: Authority, peer: Peer, words: str
) -> None:
    """The producer gets 503 with the reason in time; no byte of an event was sent, and nothing stays open."""
    tls = {"ca_file": str(authority.ca_file), "server_name": NAME}
    async with peer(authority, stranger) as address:
        before = descriptors()
        async with sidecar(to_one(address, scheme="https", tls=tls, **SHORT), tmp_path) as it:
            seen = await it.post(EVENT)
            assert (seen.status, seen.headers["retry-after"]) == (503, "1")
            assert set(await ends(it)) <= {"never_sent"}
            # Where time is up, which of several limits was reached first does not matter.
            assert words in said(seen) if words else "connect" in seen.json["error"][0]["context"]["message"]
        await eventually(lambda: descriptors() <= before)


@peers
async def test_no_health_check_passes_over_broken_tls(
    authority: Authority, stranger: Authority, peer: Peer, words: str
) -> None:
    """It fails in time, with the same reason, and leaves nothing open."""
    trusting = make_ssl_context(str(authority.ca_file))
    seconds = PATIENCE if words else 0.1
    async with peer(authority, stranger) as address:
        before = descriptors()
        host, _, port = address.rpartition(":")
        result = await check(Target(host, int(port), f"{NAME}:4492", "/_info", NAME, trusting), seconds)
        await eventually(lambda: descriptors() <= before)
    silent = "connects, then silent in the TLS handshake for 0.1 s: hangs"
    assert (result.passed, result.words, result.expires) == (False, words or silent, None)


async def status_over_tls(gate: FakeEventGate, folder: Path, **tls: str) -> int:
    """Send one event; return what the producer got."""
    async with sidecar(to_one(gate.address, scheme="https", tls=tls, **SHORT), folder) as it:
        return (await it.post(EVENT)).status


async def test_a_certificate_of_the_authority_is_trusted(tmp_path: Path, authority: Authority) -> None:
    """If `tls.ca_file` signed it and it is for the URL's host."""
    async with FakeEventGate(tls=authority.server("127.0.0.1")) as gate:
        assert (await status_over_tls(gate, tmp_path, ca_file=str(authority.ca_file)), len(gate.requests)) == (201, 1)


async def test_the_name_can_be_set(tmp_path: Path, authority: Authority) -> None:
    """`tls.server_name` is verified instead of the URL's host, which is still the one connected to."""
    tls = {"ca_file": str(authority.ca_file), "server_name": NAME}
    async with FakeEventGate(tls=authority.server(NAME)) as gate:
        assert (await status_over_tls(gate, tmp_path, **tls), len(gate.requests)) == (201, 1)
