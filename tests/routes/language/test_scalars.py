"""Promises of `scalars`: what is accepted can be used, and what cannot be used is refused with a reason."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routes.language.scalars import (
    duration,
    host_in,
    in_duration_words,
    in_size_words,
    path_in,
    size_in_bytes,
    url_in,
)
from tests.jsontext import unhurried

odd = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(["a", "xn--", "-", ".", "_", ":", "[", "]", "1", "%", "\u200b", "é", "A" * 70])).map(
        "".join
    ),
)


@unhurried
@given(odd)
def test_an_accepted_host_can_be_used(name: str) -> None:
    """As a TLS server name and in an HTTP header."""
    try:
        host = host_in(name)
    except ValueError:
        return
    context = ssl.create_default_context()
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=host)
    assert host.encode("ascii") == name.encode("ascii")


@unhurried
@given(odd, odd)
def test_an_accepted_url_can_be_sent(host: str, path: str) -> None:
    """Its parts are unchanged, and ASCII."""
    try:
        url = url_in(f"HTTPS://{host}/{path}")
    except ValueError:
        return
    parts = urlsplit(url)
    assert (parts.scheme, url.isascii()) == ("https", True)
    assert (parts.hostname or "") != ""
    assert not parts.netloc.endswith(":")


def test_the_scheme_may_be_written_in_capitals() -> None:
    """It becomes lower case: TLS must not depend on it."""
    assert url_in("HTTPS://h.wmnet:1/v1/events") == "https://h.wmnet:1/v1/events"
    assert url_in("Http://{datacenter}.wmnet/v1/events") == "http://{datacenter}.wmnet/v1/events"


@pytest.mark.parametrize("host", ["10.0.0.1", "2620:0:861::1", "localhost", "a_b.wmnet", "a" * 63 + ".wmnet"])
def test_a_host_may_be_an_address_or_a_name(host: str) -> None:
    """Like names in certificates."""
    assert host_in(host) == host


@pytest.mark.parametrize("path", ["/_info", "/_info?x=1", "/", "/v1/%C3%A9"])
def test_a_path_is_read(path: str) -> None:
    """With a query, too."""
    assert path_in(path) == path


def test_bounds_of_a_duration_are_allowed() -> None:
    """Both are included."""
    assert (duration("100ms", "100ms", "1h"), duration("60m", "100ms", "1h")) == (0.1, 3600.0)
    with pytest.raises(ValueError, match="is 99ms; allowed: from 100ms to 1h"):
        duration("99ms", "100ms", "1h")


def test_the_largest_size_is_allowed() -> None:
    """It is EventGate's limit."""
    assert in_size_words(size_in_bytes("10MiB")) == "10MiB"
    with pytest.raises(ValueError, match="up to 10MiB"):
        size_in_bytes("10241KiB")


@pytest.mark.parametrize(("seconds", "words"), [(0.999, "999ms"), (1.0, "1s"), (1.5, "1.5s")])
def test_a_duration_is_shown_as_it_is_read(seconds: float, words: str) -> None:
    """Milliseconds below a second."""
    assert in_duration_words(seconds) == words


@pytest.mark.parametrize("size", ["0B", "0MiB", "1", "1.5MiB", 1])
def test_a_size_is_a_whole_number_above_zero(size: object) -> None:
    """With a unit."""
    with pytest.raises(ValueError, match="write a size such as"):
        size_in_bytes(size)


@pytest.mark.parametrize("url", ["user@h/v1/events", "h/v1/events?x", "h/v1/events#x", "h/v1/ events", "h/v1/{"])
def test_a_url_is_a_host_and_a_path(url: str) -> None:
    """Nothing else could be sent, or would be kept secret."""
    with pytest.raises(ValueError, match="a query, a fragment, a user and spaces are not allowed"):
        url_in(f"http://{url}")


@pytest.mark.parametrize("path", ["_info", "/a b", "/a#b"])
def test_a_path_starts_with_a_slash_and_can_be_sent(path: str) -> None:
    """Without spaces and fragments."""
    with pytest.raises(ValueError, match="a path starts with a slash"):
        path_in(path)
