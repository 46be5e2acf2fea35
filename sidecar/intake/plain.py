"""Reads the usual POST of events, complete in one piece and with a plain head; llhttp reads all others.

All parsers read a plain head alike, so nothing can be smuggled in it: HTTP/1.1, single spaces, printable ASCII, no
duplicate header, a decimal Content-Length that is right, and no header that changes the framing.
"""

from __future__ import annotations

import functools
import re

TARGET = b"/v1/events"
PLAIN_HEAD_BYTES, PLAIN_LINE_BYTES, PLAIN_LINES = 2 * 1024, 256, 32
UNCOUNTED_BYTES = len(b"POST  HTTP/1.1\r\n\r\n")
"""Bytes of a head that the parser reports to no callback, and that are therefore not counted."""
REMEMBERED_LINES = 512
"""Cached lines; producers send the same ten or so each time, except for a length and an id."""

_REQUEST_LINE = b"POST %b HTTP/1.1" % TARGET
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_NEVER = re.compile(b"(?!)")
_FRAMING = {
    b"content-length": re.compile(b"[0-9]{1,8}"),
    b"connection": re.compile(b"keep-alive", re.IGNORECASE),
    **dict.fromkeys((b"transfer-encoding", b"upgrade", b"expect", b"te", b"trailer", b"proxy-connection"), _NEVER),
}
"""The values of framing headers that are plain."""


def plain_post(data: bytes) -> tuple[dict[bytes, bytes], bytes] | None:
    """Return the headers, names in lower case, and the body of a plain POST; None if `data` is anything else."""
    end = data.find(b"\r\n\r\n", 0, PLAIN_HEAD_BYTES)
    if end < 0:
        return None
    first, *lines = data[:end].split(b"\r\n")
    if first != _REQUEST_LINE or len(lines) > PLAIN_LINES:
        return None
    headers: dict[bytes, bytes] = {}
    for line in lines:
        header = _header(line)
        if header is None:
            return None
        headers[header[0]] = header[1]
    body = data[end + 4 :]
    if len(headers) != len(lines) or b"host" not in headers or int(headers.get(b"content-length", b"-1")) != len(body):
        return None
    return headers, body


@functools.lru_cache(maxsize=REMEMBERED_LINES)
def _header(line: bytes) -> tuple[bytes, bytes] | None:
    found = _HEADER.fullmatch(line) if len(line) <= PLAIN_LINE_BYTES else None
    if found is None:
        return None
    name, value = found[1].lower(), found[2]
    framing = _FRAMING.get(name)
    return (name, value) if framing is None or framing.fullmatch(value) else None
