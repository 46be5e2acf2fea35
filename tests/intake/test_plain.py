"""Promises of `plain`: llhttp reads every plain request alike; all others are left to llhttp."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.intake.plain import PLAIN_LINE_BYTES, TARGET, plain_post
from tests.fakes import post

LINES = (
    b"Host: x",
    b"host: y:1",
    b"Content-Length: 2",
    b"content-length: 0002",
    b"Content-Length: +2",
    b"Content-Length: 2, 2",
    b"Connection: Keep-Alive",
    b"connection: close",
    b"Connection: keep-alive, upgrade",
    b"Proxy-Connection: close",
    b"Transfer-Encoding: chunked",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"Trailer: x",
    b"x-request-id: a b\tc",
    b"X-Request-Id: 1",
    b"User-Agent:x",
    b"user-agent:  two spaces",
    b"user-agent: at the end ",
    b" folded: x",
    b"na me: x",
    b"name : x",
    b"name: \xe9",
    b"name: a\nb: c",
    b"name: a\rb",
    b"name: \0",
    b"name:",
    b"",
    b": x",
)
REQUEST_LINES = (
    b"POST /v1/events HTTP/1.1",
    b"POST /v1/events HTTP/1.0",
    b"POST  /v1/events HTTP/1.1",
    b"GET /v1/events HTTP/1.1",
    b"POST /v1/events?hasty=true HTTP/1.1",
)


class Read:
    """The result of llhttp."""

    def __init__(self, data: bytes) -> None:
        """Read all of it."""
        self.target, self.body, self.complete = b"", b"", 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.keeps_alive = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(data)
        self.method, self.version = self._parser.get_method(), self._parser.get_http_version()

    def on_url(self, url: bytes) -> None:
        """Keep it."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep it."""
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        """Keep it."""
        self.body += body

    def on_message_complete(self) -> None:
        """Count it."""
        self.complete += 1
        self.keeps_alive = self._parser.should_keep_alive()


@given(
    st.sampled_from(REQUEST_LINES),
    st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=12)), max_size=5),
    st.sampled_from([b"{}", b"", b"{}\r\n", b"\r\n\r\n"]),
    st.sampled_from([b"\r\n", b"\n"]),
)
def test_whatever_is_plain_llhttp_reads_alike(first: bytes, lines: list[bytes], body: bytes, end: bytes) -> None:
    """Headers, body, end of the request and of the connection: nothing can be smuggled."""
    data = end.join([first, b"host: z", *lines, b"", body])
    plain = plain_post(data)
    if plain is not None:
        read = Read(data)
        assert (read.method, read.target, read.version) == (b"POST", TARGET, "1.1")
        assert plain == (dict(read.headers), read.body)
        assert len(read.headers) == len(plain[0])
        assert (read.complete, read.keeps_alive) == (1, True)


def test_the_usual_post_is_plain() -> None:
    """As written by aiohttp, requests and the benchmark."""
    headers, body = plain_post(post(b"{}", connection="Keep-Alive", x_request_id="1")) or ({}, b"")
    assert (headers[b"content-length"], body) == (b"2", b"{}")


def test_a_head_without_an_end_is_not_plain() -> None:
    """Even if its length were that of a body."""
    start = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: "
    assert plain_post(start + b"%d\r" % len(start)) is None


@pytest.mark.parametrize("line", [each for each in LINES if each[:5] not in (b"Host:", b"X-Req", b"Conte", b"conte")])
def test_framing_headers_are_left_to_llhttp(line: bytes) -> None:
    """Except a Content-Length and `keep-alive`; and so is all that parsers read differently."""
    plain = plain_post(b"\r\n".join([REQUEST_LINES[0], b"a: b", b"Content-Length: 2", line, b"Host: x", b"", b"{}"]))
    assert (plain is not None) == (line == b"Connection: Keep-Alive")


def head(*lines: bytes) -> bytes:
    """Return a POST without a body, with these lines in its head."""
    return b"\r\n".join([REQUEST_LINES[0], b"host: x", b"content-length: 0", *lines, b"", b""])


SEVEN = [b"a%d: " % number + 250 * b"x" for number in range(7)]
ROOM = 2048 - len(head(*SEVEN, b"b: "))


@pytest.mark.parametrize(
    ("largest", "larger"),
    [
        (head(b"a: " + 253 * b"x"), head(b"a: " + 254 * b"x")),
        (head(*(b"a%d: x" % n for n in range(30))), head(*(b"a%d: x" % n for n in range(31)))),
        (head(*SEVEN, b"b: " + ROOM * b"x"), head(*SEVEN, b"b: " + (ROOM + 1) * b"x")),
        (head().replace(b": 0", b": 00000000"), head().replace(b": 0", b": 000000000")),
    ],
    ids=["a line", "lines", "a head", "digits of a length"],
)
def test_a_plain_head_has_limits(largest: bytes, larger: bytes) -> None:
    """256 bytes a line, 32 lines, 2,048 bytes in all, eight digits of a length; llhttp reads anything larger."""
    assert plain_post(largest) is not None
    assert plain_post(larger) is None


@pytest.mark.parametrize(
    "data",
    [
        post(b"{}") + b"x",
        post(b"{}")[:-1],
        post(b"{}").replace(b"content-length", b"content-lengthy"),
        post(b"{}", a="x" * PLAIN_LINE_BYTES),
        post(b"{}", "/v1/events/"),
    ],
    ids=["more follows", "not complete", "without a length", "a long line", "another target"],
)
def test_anything_but_one_complete_post_is_left_to_llhttp(data: bytes) -> None:
    """Only a complete request without anything behind it needs no parser."""
    assert plain_post(data) is None
