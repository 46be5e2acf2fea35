"""Reads scalars of `routes.yaml`: durations, sizes, URLs, host names, paths.

Each function returns the value, or raises ValueError with a message that follows the name of the key.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from sidecar.routes.language.section import shown, string_in

DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
SIZE = re.compile(r"([0-9]{1,9})(B|KiB|MiB)")
LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
LARGEST = 10 * 1024 * 1024
_VARIABLE = re.compile(r"\$\{?\w+\}?|\{(?!datacenter\})[^{}]*\}")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(value: object, least: str = "1ms", most: str = "24h") -> float:
    """Read `500ms`, `1.5s`, `5m` or `1h` as seconds; `least` and `most` are the bounds, in the same format.

    Raises:
        ValueError: it is not a duration, or out of bounds.

    """
    found = DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"is {shown(value)}; write a duration such as 500ms, 1.5s, 5m or 1h")
    seconds = _seconds(found)
    if seconds <= 0:
        raise ValueError("is zero; a duration must be longer than 0s")
    low, high = (_seconds(bound) for bound in map(DURATION.fullmatch, (least, most)) if bound)
    if not low <= seconds <= high:
        raise ValueError(f"is {value}; allowed: from {least} to {most}")
    return seconds


def _seconds(found: re.Match[str]) -> float:
    return float(found[1]) * _SECONDS[found[2]]


def in_duration_words(seconds: float) -> str:
    """Return seconds in the format that `duration` reads."""
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def size_in_bytes(value: object) -> int:
    """Read `500B`, `64KiB` or `1MiB` as bytes.

    Raises:
        ValueError: it is none of these, or nothing at all.

    """
    found = SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError(f"is {shown(value)}; write a size such as 64KiB, 1MiB or 500B")
    size = int(found[1]) * _BYTES[found[2]]
    if size > LARGEST:
        raise ValueError(
            f"is {value}; allowed: up to {in_size_words(LARGEST)}, the largest body that EventGate accepts"
        )
    return size


def in_size_words(size: int) -> str:
    """Return bytes in the format that `size_in_bytes` reads."""
    unit = next(unit for unit in ("MiB", "KiB", "B") if size % _BYTES[unit] == 0)
    return f"{size // _BYTES[unit]}{unit}"


def text_in(value: object) -> str:
    """Read a text that is not empty."""
    text = string_in(value)
    if not text.strip():
        raise ValueError("is an empty string; write a value, or remove the key")
    return text


def url_in(value: object) -> str:
    """Read a URL; its scheme becomes lower case, `{datacenter}` stays."""
    text = text_in(value)
    strange = _VARIABLE.search(text)
    if strange is not None:
        raise ValueError(f"has {strange[0]}; the only placeholder is {{datacenter}}, for each of datacenters")
    filled = text.replace("{datacenter}", "datacenter")
    _need_ascii(filled)
    try:
        parts = urlsplit(filled)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is {text!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"is {text!r}; write the full URL, such as https://host:4492/v1/events")
    if not parts.path.strip("/"):
        raise ValueError(f"is {text!r}, which has no path; EventGate takes events at /v1/events")
    if parts.query or parts.fragment or "@" in parts.netloc or re.search(r"[{}\s]", filled):
        raise ValueError(f"is {text!r}; a query, a fragment, a user and spaces are not allowed here")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"is {text!r}; a port is a number from 1 to 65535; if there is none, remove the colon")
    _need_host(host)
    return parts.scheme + text[len(parts.scheme) :]


def _need_ascii(text: str) -> None:
    """Refuse characters that cannot be sent; an editor does not show a pasted zero-width space."""
    strange = next((each for each in text if not "!" <= each <= "~" and each != " "), None)
    if strange is not None:
        raise ValueError(
            f"has the character U+{ord(strange):04X}, which cannot be sent; delete it, "
            "percent-encode it in a path, or write a name as xn--…"
        )


def _need_host(host: str) -> None:
    """Refuse a name that is invalid in DNS and certificates: RFC 1035, 2.3.4, but with underscores."""
    if ":" in host:  # an IPv6 address; urlsplit has checked its brackets
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"has the host {host}, which is not an IPv6 address") from None
        return
    if host.endswith("."):
        raise ValueError(f"has the host {shown(host)}; remove the dot at the end; names are always fully qualified")
    label = next((each for each in host.split(".") if not LABEL.fullmatch(each)), None)
    if label is not None or len(host) > 253:
        raise ValueError(
            f"has the host {shown(host)}; each part between dots has 1 to 63 letters, digits, dashes and underscores, "
            "no dash first or last, and the whole name at most 253 characters"
        )


def host_in(value: object) -> str:
    """Read a host name or an IP address."""
    text = text_in(value)
    _need_ascii(text)
    _need_host(text)
    return text


def path_in(value: object) -> str:
    """Read the path of a health check."""
    text = text_in(value)
    _need_ascii(text)
    if not re.fullmatch(r"/[^\s#]*", text):
        raise ValueError(f"is {text!r}; a path starts with a slash, such as /_info, and has no spaces and no #")
    if re.fullmatch(r"/+v1/+(?:_test/+)?events/*(?:\?.*)?", text, re.IGNORECASE):
        raise ValueError(
            f"is {text!r}, which cannot be a health check: a GET there produces an event or is answered 404"
        )
    return text
