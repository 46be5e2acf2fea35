"""Promises of `scalars`: what is accepted can be used, and what cannot be used is refused with a reason."""

from __future__ import annotations

import ssl
from collections.abc import Callable
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
    text_in,
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1ms", 0.001), ("1s", 1.0), ("1.5s", 1.5), ("5m", 300.0), ("0.5h", 1800.0)],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    """A duration is a number with a unit."""
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *(
            pytest.param(value, f"is {words}; write a duration such as 500ms, 1.5s, 5m or 1h", id=repr(value))
            for value, words in [
                (5, "5"),
                (1.5, "1.5"),
                ("5", "'5'"),
                ("5 s", "'5 s'"),
                ("-1s", "'-1s'"),
                ("1d", "'1d'"),
                ("1e3s", "'1e3s'"),
                (".5s", "'.5s'"),
                ("", "''"),
                (None, "empty"),
                (True, "true"),
            ]
        ),
        pytest.param("0.5ms", "is 0.5ms; allowed: from 1ms to 24h", id="0.5ms"),
        pytest.param("25h", "is 25h; allowed: from 1ms to 24h", id="25h"),
        pytest.param("0s", "is zero; a duration must be longer than 0s", id="0s"),
        pytest.param("0.0ms", "is zero; a duration must be longer than 0s", id="0.0ms"),
    ],
)
def test_an_invalid_duration_is_refused(value: object, message: str) -> None:
    """A number without a unit and an endless wait are refused, with the right format."""
    with pytest.raises(ValueError, match=r".") as refusal:
        duration(value)
    assert str(refusal.value) == message


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


def test_a_size_is_in_bytes() -> None:
    """Of 1024 each."""
    assert [size_in_bytes(size) for size in ("7B", "3KiB", "2MiB")] == [7, 3072, 2_097_152]


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


@pytest.mark.parametrize("url", ["ftp://h/v1/events", "//h/v1/events", "h/v1/events", "http:///v1/events"])
def test_a_url_has_a_scheme_and_a_host(url: str) -> None:
    """Of HTTP."""
    with pytest.raises(ValueError, match="write the full URL, such as"):
        url_in(url)


@pytest.mark.parametrize("read", [host_in, path_in, url_in, text_in])
def test_an_empty_text_is_refused(read: Callable[[object], str]) -> None:
    """With what to do instead."""
    with pytest.raises(ValueError, match="is an empty string; write a value, or remove the key"):
        read("")


@pytest.mark.parametrize("path", ["_info", "/a b", "/a#b"])
def test_a_path_starts_with_a_slash_and_can_be_sent(path: str) -> None:
    """Without spaces and fragments."""
    with pytest.raises(ValueError, match="a path starts with a slash"):
        path_in(path)


@pytest.mark.parametrize("url", ["http://h:/v1/events", "http://h:0/v1/events"])
def test_a_port_is_a_number_or_left_out(url: str) -> None:
    """A colon alone, or port 0, is a mistake."""
    with pytest.raises(ValueError, match="a port is a number from 1 to 65535"):
        url_in(url)


@pytest.mark.parametrize("read", [host_in, lambda host: url_in(f"http://{host}/v1/events")], ids=["host", "url"])
def test_a_character_that_cannot_be_sent_is_named(read: Callable[[str], str]) -> None:
    """An editor does not show a zero-width space."""
    with pytest.raises(ValueError, match=r"has the character U\+200B, which cannot be sent"):
        read("h.\u200bwmnet")


def test_a_host_has_the_length_of_dns() -> None:
    """RFC 1035, 2.3.4: 253 characters without the dot at the end."""
    longest = ".".join(["a" * 63, "a" * 63, "a" * 63, "a" * 61])
    assert host_in(longest) == longest
    with pytest.raises(ValueError, match="at most 253 characters"):
        host_in(f"{longest}a")
