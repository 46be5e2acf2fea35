"""Promises of `body`: bodies are decoded as by EventGate, within the limit."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import BodyTooLarge, CorruptBody, EmptyBody, RequestError, UnsupportedBody
from sidecar.intake.body import MAX_MEMBERS, decoded
from tests.jsontext import unhurried

LIMIT = 10_000

ZOE = '{"title":"Zoë"}'


@pytest.mark.parametrize(
    ("body", "content_type", "content_encoding"),
    [
        pytest.param(ZOE.encode(), "application/json", "", id="plain"),
        pytest.param(ZOE.encode(), "text/plain", "identity", id="text"),
        pytest.param(ZOE.encode(), "Application/JSON ; Charset=UTF-8", "", id="written loudly"),
        pytest.param(ZOE.encode("utf-8-sig"), 'application/json; charset="utf-8"', "", id="a byte order mark"),
        pytest.param(ZOE.encode("utf-16"), "application/json; charset=utf-16", "", id="UTF-16"),
        pytest.param(ZOE.encode("utf-16-be"), "application/json; charset=utf-16be", "", id="UTF-16, big end first"),
        pytest.param(ZOE.encode("utf-32-le"), "application/json; charset=utf-32le", "", id="UTF-32"),
        pytest.param(gzip.compress(ZOE.encode()), "application/json", "GZip", id="gzip"),
        pytest.param(zlib.compress(ZOE.encode()), "application/json", "deflate", id="deflate"),
        pytest.param(
            gzip.compress(ZOE.encode("utf-16")),
            "application/json; charset=utf-16",
            "gzip",
            id="both",
        ),
    ],
)
def test_a_body_is_decoded(body: bytes, content_type: str, content_encoding: str) -> None:
    """Everything that EventGate's body parser reads becomes the same UTF-8 bytes."""
    assert decoded(body, content_type, content_encoding, LIMIT) == ZOE.encode()


def test_bytes_that_are_not_utf8_are_left_alone() -> None:
    """A body in UTF-8 is not checked: invalid bytes reach EventGate unchanged."""
    assert decoded(b'{"a":"\xff\xfe"}', "application/json", "", LIMIT) == b'{"a":"\xff\xfe"}'


TOO_LARGE = BodyTooLarge("request entity too large")
NO_CHARSET = UnsupportedBody('unsupported charset "LATIN-1"')
NO_ENCODING = UnsupportedBody('unsupported content encoding "br"')
NOT_GZIP = CorruptBody("incorrect header check")
NOT_DEFLATE = CorruptBody("incorrect header check")
HALF_OF_GZIP = CorruptBody("unexpected end of file")


@pytest.mark.parametrize(
    ("body", "content_type", "content_encoding", "refusal"),
    [
        pytest.param(b"{}", "", "", EmptyBody(), id="no content type"),
        pytest.param(b"{}", "application/xml", "", EmptyBody(), id="another content type"),
        pytest.param(b"{}", "text/plain; charset=latin-1", "", NO_CHARSET, id="charset"),
        pytest.param(b"{}", "text/plain", "br", NO_ENCODING, id="content encoding"),
        pytest.param(b"{}", "text/plain", "gzip", NOT_GZIP, id="not gzip"),
        pytest.param(zlib.compress(b"{}"), "text/plain", "gzip", NOT_GZIP, id="deflate and not gzip"),
        pytest.param(gzip.compress(b"{}"), "text/plain", "deflate", NOT_DEFLATE, id="gzip and not deflate"),
        pytest.param(gzip.compress(b"{}")[:-1], "text/plain", "gzip", HALF_OF_GZIP, id="half of gzip"),
        pytest.param(zlib.compress(b"{}")[2:-4], "text/plain", "deflate", NOT_DEFLATE, id="deflate without its frame"),
        pytest.param(b"x" * (LIMIT + 1), "text/plain", "", TOO_LARGE, id="too large"),
        pytest.param(gzip.compress(b"x" * (LIMIT + 1)), "text/plain", "gzip", TOO_LARGE, id="too large inside"),
    ],
)
def test_a_body_that_cannot_be_decoded_is_refused(
    body: bytes, content_type: str, content_encoding: str, refusal: RequestError
) -> None:
    """With the reason, if EventGate's body parser does not read it either."""
    with pytest.raises(type(refusal)) as found:
        decoded(body, content_type, content_encoding, LIMIT)
    assert found.value.detail == refusal.detail


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_a_body_may_be_as_large_as_the_limit(encoding: str) -> None:
    """The limit itself is accepted, compressed or not."""
    plain = b"x" * LIMIT
    body = {"": plain, "gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}[encoding]
    assert decoded(body, "text/plain", encoding, LIMIT) == plain


def test_a_compressed_body_may_be_as_large_as_the_limit() -> None:
    """As sent, before it is inflated: a few bytes are larger compressed."""
    body = gzip.compress(b"{}")
    assert decoded(body, "text/plain", "gzip", len(body)) == b"{}"
    with pytest.raises(BodyTooLarge):
        decoded(body, "text/plain", "gzip", len(body) - 1)


def test_a_bomb_is_not_inflated() -> None:
    """A small body that would inflate beyond the limit takes no more memory than the limit."""
    bomb = gzip.compress(bytes(50 * 1024 * 1024), compresslevel=1)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decoded(bomb, "application/json", "gzip", 1024 * 1024)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@unhurried
@given(
    st.binary(max_size=60),
    st.sampled_from(["utf-8", "utf-16", "utf-16le", "utf-32", "utf-32be"]),
    st.sampled_from(["", "gzip", "deflate"]),
)
def test_any_body_is_decoded_or_refused(body: bytes, charset: str, encoding: str) -> None:
    """No bytes and no headers raise anything else, and the output is bounded."""
    with contextlib.suppress(CorruptBody, BodyTooLarge):
        assert len(decoded(body, f"application/json; charset={charset}", encoding, 60)) <= 3 * 60


def test_all_members_of_a_gzip_file_are_read() -> None:
    """Concatenated gzip files are one body, as in Node's zlib, and the limit is for all."""
    plain = b'{"a":' + 200 * b" " + b"1}"
    body = gzip.compress(plain[:100]) + gzip.compress(plain[100:])
    assert decoded(body, "application/json", "gzip", len(plain)) == plain
    with pytest.raises(BodyTooLarge):
        decoded(body, "application/json", "gzip", len(plain) - 1)


def test_a_gzip_body_has_a_maximum_of_members() -> None:
    """Half a million empty members must not keep a CPU busy."""
    empty = gzip.compress(b"")
    assert decoded(empty * MAX_MEMBERS, "application/json", "gzip", LIMIT) == b""
    with pytest.raises(CorruptBody, match=r"^more than 100 gzip members; compress the body as one$"):
        decoded(empty * 500_000, "application/json", "gzip", len(empty) * 500_000)


def test_padding_after_gzip_is_ignored() -> None:
    """Zeros after the last member, as in Node; anything else is an error."""
    body = gzip.compress(b"[1]")
    assert decoded(body + bytes(9), "application/json", "gzip", LIMIT) == b"[1]"
    with pytest.raises(CorruptBody, match=r"^incorrect header check$"):
        decoded(body + b"rubbish", "application/json", "gzip", LIMIT)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "x-gzip", "zstd"])
def test_unsupported_encodings_are_refused(encoding: str) -> None:
    """body-parser 1.19 supports gzip and deflate, one at a time; br came with version 2."""
    with pytest.raises(UnsupportedBody, match=f'^unsupported content encoding "{encoding}"$'):
        decoded(b"{}", "application/json", encoding, LIMIT)


def test_a_body_of_a_type_that_eventgate_does_not_read_is_empty() -> None:
    """Such as a form."""
    with pytest.raises(EmptyBody):
        decoded(b"{}", "text/html", "", LIMIT)
