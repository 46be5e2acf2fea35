"""A POST of events that came in one piece, and whose head is as plain as nearly all are; any other is llhttp's.

Every parser reads such a head alike, so nothing can hide in it: HTTP/1.1, one space, printable ASCII, no name twice, a
length in digits that is the body's, and no header that changes how the rest is read.
"""

from __future__ import annotations

import functools
import re

TARGET = b"/v1/events"
PLAIN_HEAD_BYTES, PLAIN_LINE_BYTES, PLAIN_LINES = 2 * 1024, 256, 32
UNCOUNTED_BYTES = len(b"POST  HTTP/1.1\r\n\r\n")
"""Of a head; the parser hands them to nobody, so they are counted nowhere."""
REMEMBERED_LINES = 512
"""Lines; producers send the same ten or so each time, but for a length and an id."""

_REQUEST_LINE = b"POST %b HTTP/1.1" % TARGET
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_NEVER = re.compile(b"(?!)")
_FRAMING = {
    b"content-length": re.compile(b"[0-9]{1,8}"),
    b"connection": re.compile(b"keep-alive", re.IGNORECASE),
    **dict.fromkeys((b"transfer-encoding", b"upgrade", b"expect", b"te", b"trailer", b"proxy-connection"), _NEVER),
}
"""Which values leave a head plain, of headers that say how the rest is read."""


def plain_post(data: bytes) -> tuple[dict[bytes, bytes], bytes] | None:
    """Return headers, names in lower case, and body of the POST that `data` is; None where it is not a plain one."""
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
