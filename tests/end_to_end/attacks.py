"""What clients do to a sidecar, by the name of what they do: the bytes they send, and what they are told.

    attack.sent       written one after the other on one connection
    attack.statuses   the answers that come back, in order
    attack.ends       whether the sidecar hangs up after them

A request that can be read in two ways is refused and its connection ended (RFC 9112, 11.2): whatever stands before
or behind the sidecar cannot be made to see other requests than it does.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass

from sidecar.events.event import MAX_EVENTS, MAX_VALUES
from sidecar.intake.body import MAX_BODY_BYTES, MAX_MEMBERS
from tests.fakes import post

MB = 1024 * 1024
EVENT = b'{"$schema":"/test/event/1.0.0","meta":{"stream":"s","dt":"2026-11-22T00:00:00Z"}}'


@dataclass(frozen=True)
class Attack:
    """What one client does."""

    sent: tuple[bytes, ...]
    statuses: tuple[int, ...] = ()
    ends: bool = False


def sends(*sent: bytes) -> Attack:
    """Send this and leave."""
    return Attack(sent)


def gets(status: int, *sent: bytes) -> Attack:
    """Send this, get one answer, and be able to go on."""
    return Attack(sent, (status,))


def refused(*sent: bytes, status: int = 400) -> Attack:
    """Send this, get one answer, and be hung up on."""
    return Attack(sent, (status,), ends=True)


def cut_off(*sent: bytes) -> Attack:
    """Send this and be hung up on before all of it is read; whether the answer still arrives is up to TCP."""
    return Attack(sent, ends=True)


def head(*lines: bytes, first: bytes = b"POST /v1/events HTTP/1.1") -> bytes:
    """Return a request without its body."""
    fixed = (first, b"host: x", b"content-type: application/json")
    return b"".join(line + b"\r\n" for line in (*fixed, *lines)) + b"\r\n"


def chunk(data: bytes, size: bytes | None = None) -> bytes:
    """Return a chunk, as long as it says or as `size` says."""
    return b"%b\r\n%b\r\n" % (b"%x" % len(data) if size is None else size, data)


def padded(size: int, text: bytes) -> bytes:
    """Return `text` with so much white space behind it that it is `size` bytes."""
    return text + b" " * (size - len(text))


LENGTH = b"content-length: %d" % len(EVENT)
IN_CHUNKS = b"transfer-encoding: chunked"
CHUNKED = head(IN_CHUNKS)
LAST = b"0\r\n\r\n"
WHOLE = chunk(EVENT) + LAST
ARRAY = b"[" + EVENT + b"]"


def asks(method: str, target: str = "/v1/events") -> bytes:
    """Return a request without a body."""
    return f"{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


ATTACKS: dict[str, dict[str, Attack]] = {
    "no body": {
        "none announced": gets(400, head()),
        "length 0": gets(400, head(b"content-length: 0")),
        "no chunk": gets(400, CHUNKED + LAST),
        "of no type that EventGate reads": gets(400, post(EVENT, content_type="text/html")),
    },
    "body longer or shorter than announced": {
        "shorter, and gone": sends(post(EVENT)[:-20]),
        "cut by the length": gets(500, head(b"content-length: %d" % (len(EVENT) - 9)) + EVENT[:-9]),
        "longer": Attack((post(EVENT) + b"and so on",), (201,), ends=True),
        "longer by a line end": gets(201, post(EVENT) + b"\r\n"),
    },
    "odd chunks": {
        "of one byte": gets(201, CHUNKED + b"".join(chunk(bytes([byte])) for byte in EVENT) + LAST),
        "with extensions": gets(201, CHUNKED + chunk(EVENT, b'%x;a=b;c="d"' % len(EVENT)) + LAST),
        "with endless extensions": cut_off(CHUNKED, *[chunk(b"x", b"1;" + b"y" * 9_000)] * 20),
        "with trailers": gets(201, CHUNKED + chunk(EVENT) + b"0\r\nx-sum: 1\r\n\r\n"),
        "with a length among the trailers": refused(CHUNKED + chunk(EVENT) + b"0\r\ncontent-length: 5\r\n\r\n"),
        "with 70 kB of trailers": cut_off(CHUNKED + chunk(EVENT) + b"0\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"),
        "of negative size": refused(CHUNKED + chunk(b"hello", b"-5")),
        "of signed size": refused(CHUNKED + chunk(b"hello", b"+5")),
        "of a size with 0x": refused(CHUNKED + chunk(b"hello", b"0x5")),
        "of no size": refused(CHUNKED + chunk(b"hello", b"")),
        "of a size and a space": refused(CHUNKED + chunk(b"hello", b"5 ")),
        "of more than 64 bits": refused(CHUNKED + chunk(b"hello", b"1" + b"0" * 16)),
        "of a size line without end": cut_off(CHUNKED, *[b"0" * 60_000] * 4),
        "longer than they say": refused(CHUNKED + b"5\r\nhello you\r\n"),
        "with bare line feeds": refused(CHUNKED + (chunk(EVENT) + LAST).replace(b"\r", b"")),
        "half of one": sends(CHUNKED + b"40\r\n{"),
        "over 10 MB together": gets(500, CHUNKED, *[chunk(bytes(MB))] * 11, LAST),
    },
    "pipelining": {
        "two events": Attack((post(EVENT) * 2,), (201, 201)),
        "as many as are answered": Attack((post(EVENT) * 16,), (201,) * 16),
        "a thousand": Attack((post(EVENT) * 1000,), (201,) * 16, ends=True),
        "and rubbish behind": Attack((post(EVENT) + b"\0\r\n\r\n",), (201,), ends=True),
        "and something else between": Attack((post(EVENT) + asks("GET") + post(EVENT),), (201, 404, 201)),
    },
    "disconnect at each stage": {
        "at once": sends(b""),
        "in the request line": sends(b"POST /v1/ev"),
        "in the headers": sends(b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-le"),
        "before the body": sends(head(LENGTH)),
        "in the body": sends(head(LENGTH) + EVENT[:9]),
        "before the answer": sends(post(EVENT)),
    },
    "huge headers": {
        "one of 70 kB": cut_off(head(b"x-long: " + b"x" * 70_000, LENGTH) + EVENT),
        "one that never ends": cut_off(head()[:-2] + b"x-long: ", *[b"x" * 60_000] * 4),
        "a target of 70 kB": cut_off(post(EVENT, "/v1/events?" + "x" * 70_000)),
        "too many": cut_off(head(*[b"x-%d: y" % number for number in range(7_000)], LENGTH) + EVENT),
        "too many, and short": cut_off(head(*[b"%d:" % number for number in range(2_000)], LENGTH) + EVENT),
        "many": gets(201, head(*[b"x-%d: y" % number for number in range(90)], LENGTH) + EVENT),
    },
    "Expect": {
        "100-continue": Attack((head(LENGTH, b"expect: 100-continue"), EVENT), (100, 201)),
        "100-continue, and no body": Attack((head(LENGTH, b"expect: 100-continue"),), (100,)),
        "100-continue for another path": gets(404, head(LENGTH, b"expect: 100-continue", first=b"POST /x HTTP/1.1")),
        "what nobody knows": gets(201, head(LENGTH, b"expect: the-worst") + EVENT),
    },
    "upgrade": {
        "to WebSocket": gets(404, asks("GET")[:-2] + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"),
        "to WebSocket, with an event": gets(201, head(LENGTH, b"connection: upgrade", b"upgrade: websocket") + EVENT),
        "to WebSocket, and the end": refused(
            head(LENGTH, b"connection: upgrade, close", b"upgrade: websocket") + EVENT, status=201
        ),
        "by HTTP/1.0": refused(
            post(EVENT, connection="upgrade", upgrade="h2c").replace(b"HTTP/1.1", b"HTTP/1.0"), status=201
        ),
        "to h2c": gets(201, head(LENGTH, b"connection: upgrade, http2-settings", b"upgrade: h2c") + EVENT),
    },
    "HTTP/2 preface": {"as sent first": refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))},
    "other versions": {
        "HTTP/1.0": refused(post(EVENT).replace(b"HTTP/1.1", b"HTTP/1.0"), status=201),
        "HTTP/1.0 with keep-alive": refused(
            post(EVENT, connection="keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"), status=201
        ),
        "HTTP/0.9": refused(b"POST /v1/events\r\n\r\n"),
        "HTTP/1.2": refused(post(EVENT).replace(b"HTTP/1.1", b"HTTP/1.2")),
        "TLS": refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
        "garbage": refused(bytes(range(256)) * 40),
    },
    "path tricks": {
        **{
            target: gets(404, post(EVENT, target))
            for target in (
                *("//v1/events", "/v1//events", "/./v1/events", "/v1/../v1/events", "/%2e/v1/events"),
                *("/v1/%2e%2e/v1/events", "/v1/events%00", "/v1/events/..", "/v1/events;x=1", "/v1/events%20", "*"),
            )
        },
        **{
            target: gets(201, post(EVENT, target))
            for target in (
                *("/V1/Events", "/v1/events/", "/%76%31/events", "/v1/events?x=%00", "/v1/events?x=http://evil.test/"),
                *("http://evil.test/v1/events", "http://127.0.0.1:1/v1/events"),
            )
        },
        "no slash": refused(post(EVENT, "v1/events")),
        "a NUL": refused(post(EVENT, "/v1/events\0")),
    },
    "hosts": {
        "none": refused(post(EVENT).replace(b"host: localhost\r\n", b"")),
        "two": refused(head(b"host: y", LENGTH) + EVENT),
        "none, in HTTP/1.0": refused(
            post(EVENT).replace(b"host: localhost\r\n", b"").replace(b"HTTP/1.1", b"HTTP/1.0"), status=201
        ),
    },
    "methods": {
        **{
            method: gets(404, asks(method)) for method in ("GET", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "PURGE")
        },
        **{method: refused(asks(method)) for method in ("post", "Post", "BREW", "")},
        "CONNECT": refused(asks("CONNECT"), status=404),
        "CONNECT to elsewhere": refused(asks("CONNECT", "evil.test:443")),
        "OPTIONS *": gets(404, asks("OPTIONS", "*")),
    },
    "two lengths": {
        "the same": refused(head(LENGTH, LENGTH) + EVENT),
        "two that differ": refused(head(LENGTH, b"content-length: 3") + EVENT),
        "a list": refused(head(LENGTH + b", 3") + EVENT),
        "a length and chunks": refused(head(LENGTH, IN_CHUNKS) + WHOLE),
        "chunks and a length": refused(head(IN_CHUNKS, LENGTH) + WHOLE),
        "chunks twice": refused(head(IN_CHUNKS, IN_CHUNKS) + WHOLE),
        "chunks and identity": refused(head(IN_CHUNKS + b", identity") + WHOLE),
        "no chunks after all": refused(head(b"transfer-encoding: xchunked") + WHOLE),
        "chunks with a vertical tab": refused(head(b"transfer-encoding: \x0bchunked") + WHOLE),
        "chunks with a space before the colon": refused(head(b"transfer-encoding : chunked") + WHOLE),
        "chunks in a folded line": refused(head(b"transfer-encoding:\r\n chunked") + WHOLE),
        **{
            f"length {length}": refused(head(b"content-length: " + length.encode()) + EVENT)
            for length in ("-1", "+5", "0x10", "9" * 30, "", "5x")
        },
    },
    "line ends": {
        "bare line feeds": refused(head(LENGTH).replace(b"\r\n", b"\n") + EVENT),
        "bare carriage returns": refused(head(LENGTH).replace(b"\r\n", b"\r") + EVENT),
        "a folded header": refused(head(b"x-a: b\r\n c", LENGTH) + EVENT),
    },
    "NULs": {
        "in a header": refused(head(b"x-a: b\0c", LENGTH) + EVENT),
        "in a header's name": refused(head(b"x\0a: b", LENGTH) + EVENT),
        "in a body": gets(500, post(b'{"a":"\0"}')),
        "written out in a stream": gets(500, post(b'{"meta":{"stream":"a\\u0000\\r\\nb: c"}}')),
        "and bytes that are no UTF-8": gets(500, post(b'{"meta":{"stream":"\xff\xfe"}}')),
    },
    "deep nesting": {
        "a million brackets": gets(500, post(b"[" * MB + b"]" * MB)),
        "a million braces": gets(500, post(b'{"a":' * MB + b"1" + b"}" * MB)),
        "a hundred thousand of both, never closed": gets(500, post(b'[{"meta":' * 100_000)),
    },
    "wide rather than deep": {
        "too many values": gets(500, post(b'{"a":[' + b"1," * MAX_VALUES + b"1]}")),
        "too many events": gets(500, post(b"[" + b"{}," * MAX_EVENTS + b"{}]")),
    },
    "10 MB minus one, exactly and plus one": {
        **{
            f"{MAX_BODY_BYTES} {more:+}, {what}": gets(
                201 if more <= 0 else 500, post(padded(MAX_BODY_BYTES + more, text))
            )
            for more in (-1, 0, 1)
            for what, text in (("a lone event", EVENT), ("an array", ARRAY))
        },
        "plus one, in chunks": gets(500, CHUNKED, chunk(padded(MAX_BODY_BYTES, EVENT)), chunk(b" "), LAST),
    },
    "compressed bodies": {
        "gzip": gets(201, post(gzip.compress(EVENT), content_encoding="gzip")),
        "deflate": gets(201, post(zlib.compress(EVENT), content_encoding="deflate")),
        "identity": gets(201, post(EVENT, content_encoding="identity")),
        "br, which EventGate's parser does not know": gets(500, post(EVENT, content_encoding="br")),
        "gzip twice": gets(500, post(gzip.compress(gzip.compress(EVENT)), content_encoding="gzip, gzip")),
        "deflate without its header": gets(500, post(zlib.compress(EVENT)[2:-4], content_encoding="deflate")),
        "half of gzip": gets(500, post(gzip.compress(EVENT)[:-9], content_encoding="gzip")),
        "gzip and padding": gets(201, post(gzip.compress(EVENT) + bytes(9), content_encoding="gzip")),
        "gzip and rubbish": gets(500, post(gzip.compress(EVENT) + b"rubbish", content_encoding="gzip")),
        "gzip of exactly 10 MB": gets(201, post(gzip.compress(padded(10 * MB, EVENT)), content_encoding="gzip")),
        "gzip of 10 MB and one": gets(500, post(gzip.compress(padded(10 * MB + 1, EVENT)), content_encoding="gzip")),
        "a bomb": gets(500, post(gzip.compress(bytes(100 * MB)), content_encoding="gzip")),
        "a bomb of deflate": gets(500, post(zlib.compress(bytes(100 * MB)), content_encoding="deflate")),
        "a bomb in many parts": gets(500, post(gzip.compress(b"") * 500_000, content_encoding="gzip")),
        "many parts": gets(400, post(gzip.compress(b"") * MAX_MEMBERS, content_encoding="gzip")),
    },
}
"""What it is called in the list of what a client can do → each way of doing it."""


SLOW = {
    "slow headers": refused(b"POST /v1/events HTTP/1.1\r\nhost: x\r\n"),
    "slow request line": refused(b"POST /v1/ev"),
    "slow body": refused(post(EVENT)[:-9], status=408),
    "slow chunks": refused(CHUNKED + b"40\r\n{", status=408),
    "a chunk of 2^64 - 1 bytes": refused(CHUNKED + b"f" * 16 + b"\r\n{", status=408),
    "a length of 2^63 - 1": refused(head(b"content-length: %d" % (2**63 - 1)) + EVENT, status=408),
}
"""Requests that never become complete: each is answered after 5 seconds."""
