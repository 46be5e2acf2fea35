"""Decodes content type, charset and compression of a body as EventGate's body parser (1.19) does.

It supports gzip and deflate. Version 2 also supports br, but EventGate 1.8.4 does not use that.
"""

from __future__ import annotations

import codecs
import functools
import re
import zlib

from sidecar.errors import BodyTooLarge, CorruptBody, EmptyBody, MalformedBody, UnsupportedBody

MAX_BODY_BYTES = 10 * 1024 * 1024
"""The limit of Wikimedia's EventGate (charts/eventgate, max_body_size: 10mb)."""
JSON_TYPES = frozenset({"application/json", "text/plain", "application/reports+json"})
"""Content types that EventGate reads (app.js, bodyParser); it treats a body of any other type as empty."""
MAX_MEMBERS = 100
"""Concatenated gzip members in one body; the rest of the body is copied for each."""
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)


def decoded(body: bytes, content_type: str, content_encoding: str, limit: int) -> bytes:
    """Decompress the body to at most `limit` bytes, and convert it to UTF-8.

    Raises:
        EmptyBody: EventGate does not read this content type.
        UnsupportedBody: unknown content encoding or charset.
        CorruptBody: the compressed data ends early or is invalid.
        BodyTooLarge: over `limit` bytes, before or after inflating.

    """
    charset = _charset_of(content_type)
    if content_encoding or len(body) > limit:
        body = _inflated(body, content_encoding, limit)
    if charset != "utf-8":
        try:
            body = body.decode(charset, errors="replace").encode("utf-8", errors="replace")
        except UnicodeError:
            raise MalformedBody(f"the body is not {charset}, as its content type says") from None
    return body.removeprefix(codecs.BOM_UTF8)


@functools.lru_cache(maxsize=64)
def _charset_of(content_type: str) -> str:
    """Return the charset of a content type; a pod's producers use one or two."""
    if content_type.partition(";")[0].strip().lower() not in JSON_TYPES:
        raise EmptyBody
    found = _CHARSET.search(content_type)
    if found is None:
        return "utf-8"
    charset = found[1].lower()
    if not re.fullmatch(r"utf-(8|16|16le|16be|32|32le|32be)", charset):
        raise UnsupportedBody(f'unsupported charset "{charset.upper()}"')
    return charset


def _inflated(body: bytes, encoding: str, limit: int) -> bytes:
    if len(body) > limit:
        raise BodyTooLarge("request entity too large")
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise UnsupportedBody(f'unsupported content encoding "{encoding}"')
    if encoding == "deflate":
        return _member(body, zlib.MAX_WBITS, limit)[0] if body else b""
    plain: list[bytes] = []
    while body:  # RFC 1952, 2.2: a gzip file may have several members
        if len(plain) == MAX_MEMBERS:
            raise CorruptBody(f"more than {MAX_MEMBERS} gzip members; compress the body as one")
        member, body = _member(body, zlib.MAX_WBITS | 16, limit)
        plain.append(member)
        limit -= len(member)
        if body[:1] == b"\0":  # padding, which Node ignores too
            break
    return b"".join(plain)


def _member(body: bytes, wbits: int, limit: int) -> tuple[bytes, bytes]:
    """Decompress the first member to at most `limit` bytes; return it and the bytes after it."""
    inflater = zlib.decompressobj(wbits)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise CorruptBody("incorrect header check") from None
    if len(plain) > limit:
        raise BodyTooLarge("request entity too large")
    if not inflater.eof:
        raise CorruptBody("unexpected end of file")
    return plain, inflater.unused_data
