"""One connection to one address of EventGate: HTTP/1.1, one exchange at a time.

It supports what a POST of events needs, and no redirects, cookies, proxies, decompression or pipelining. A request is
one write. A reply is bounded, and parsed by llhttp, which refuses malformed HTTP. The caller enforces deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

import httptools
import msgspec

MAX_REPLY_BYTES = 32 * 1024 * 1024
"""EventGate echoes failed events, so a reply can be somewhat larger than the largest body."""
MAX_HEAD_BYTES = 64 * 1024
MAX_INTERIM = 16
"""1xx answers before the final one (RFC 9110, 15.2)."""


class BadReply(Exception):
    """The answer is malformed, or not acceptable."""


class TooLarge(BadReply):
    """The answer exceeds the limit."""

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes."""
        super().__init__(f"its answer is over {limit} bytes")


class Reply(msgspec.Struct):
    """A complete answer."""

    status: int = 0
    reason: str = ""
    body: bytes = b""
    head: bytes = b""
    """The bytes up to the end of the headers, maybe more."""

    @property
    def headers(self) -> dict[str, str]:
        """Its headers, names in lower case; the last of duplicates counts."""
        return _Headers(self.head).found


class _Headers:
    """The headers of an answer, parsed only on demand: they are rarely needed, and EventGate sends a dozen."""

    def __init__(self, head: bytes) -> None:
        self.found: dict[str, str] = {}
        self._complete = False
        self._parser = httptools.HttpResponseParser(self)
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):  # behind the headers
            self._parser.feed_data(head)

    def on_message_begin(self) -> None:
        if not self._complete:
            self.found.clear()  # those of a 1xx answer

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._complete:
            self.found[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._complete = self._complete or self._parser.get_status_code() >= 200


OnReply = Callable[[Reply | Exception], None]
"""Called with an answer, or why there is none."""


class Connection(asyncio.Protocol):
    """A connection; see `open_connection`."""

    def __init__(self) -> None:
        """Start unconnected."""
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._on_reply: OnReply | None = None
        self._reply = Reply()
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit = MAX_REPLY_BYTES
        self._unclaimed = 0
        """Bytes received since the parser last returned headers or a part of the body."""
        self._interim = 0
        self._head = b""
        self._headers_complete = self._complete = self._keeps_alive = False
        self.may_be_reused = True
        """Whether another exchange may follow."""

    def exchange(self, data: bytes, on_reply: OnReply, limit: int = MAX_REPLY_BYTES) -> None:
        """Write a request; `on_reply` is called once, after this returns, with the complete answer or an error.

        The error is a `BadReply`, or a ConnectionError if the connection is lost. A body of over `limit` bytes is a bad
        reply.
        """
        if self._transport is None or self._on_reply is not None:
            raise RuntimeError("one exchange at a time, on an open connection")
        self._on_reply = on_reply
        self._limit = limit
        self.may_be_reused = False
        self._transport.write(data)
        # Reset after the write: the answer cannot be read before the loop turns.
        self._reply = Reply()
        self._chunks = []
        self._size = self._unclaimed = self._interim = 0
        self._head = b""
        self._headers_complete = False

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Close it at once; a pending `on_reply` is not called."""
        self._on_reply = None
        self.may_be_reused = False
        if self._transport is not None:
            self._transport.abort()

    # --- called by the transport ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Store the transport."""
        transport.set_write_buffer_limits(high=0)  # write at once, not after everything else that is due
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read the answer; unexpected data closes the connection."""
        if self._on_reply is None:
            self.close()
            return
        self._unclaimed += len(data)
        if not self._headers_complete:
            self._head += data
        sound = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(BadReply("it wants to switch to another protocol"))
        except httptools.HttpParserError as error:
            sound = False
            if not self._complete:
                self._fail(_cause(error))
        if self._complete:
            early = self._transport is not None and self._transport.get_write_buffer_size() > 0
            if early and self._reply.status < 300:
                self._fail(BadReply(f"it answered {self._reply.status} before it had the request"))
            else:
                self._finish(reuse=sound and self._keeps_alive and not early)
        elif self._unclaimed > MAX_HEAD_BYTES:
            self._fail(BadReply(f"the headers of its answer are over {MAX_HEAD_BYTES} bytes"))

    def eof_received(self) -> None:
        """End an answer that has neither a length nor chunks (RFC 9112, 6.3)."""
        if self._headers_complete and not {"content-length", "transfer-encoding"} & _Headers(self._head).found.keys():
            self._finish(reuse=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail a pending exchange."""
        self._transport = None
        if exc is None or isinstance(exc, ConnectionError):
            self._fail(exc or ConnectionResetError("closed by the other side"))
        else:
            self._fail(ConnectionResetError(str(exc)))

    # --- called by the parser ---

    def on_message_begin(self) -> None:
        """Refuse a second answer: it would be taken for the answer to the next request."""
        if self._complete:
            raise BadReply("it sent a second answer")

    def on_status(self, reason: bytes) -> None:
        """Append to the reason phrase, which may come in pieces."""
        self._reply.reason += reason.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Store the status; the headers stay in `_head`."""
        self._unclaimed = 0
        self._headers_complete = True
        self._reply.status = self._parser.get_status_code()
        if self._reply.status < 100:  # llhttp would read a body, and `on_message_complete` take it for a 1xx answer
            raise BadReply(f"its status is {self._reply.status:03}, and HTTP has none below 100")

    def on_chunk_header(self) -> None:
        """Refuse chunks in a 1xx answer."""
        self._refuse_body_of_1xx()

    def on_body(self, body: bytes) -> None:
        """Append to the body."""
        self._refuse_body_of_1xx()
        self._unclaimed = 0
        self._size += len(body)
        if self._size > self._limit:
            raise TooLarge(self._limit)
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """End the answer, or go on to the next after a 1xx."""
        if self._reply.status >= 200:
            self._complete = True
            self._keeps_alive = self._parser.should_keep_alive()  # only known here
            return
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise BadReply(f"it sent over {MAX_INTERIM} 1xx answers and no final one")
        self._reply = Reply()
        self._headers_complete = False

    def _refuse_body_of_1xx(self) -> None:
        """Refuse the body of a 1xx answer (RFC 9112, 6.3); llhttp reads one except for 100, 102 and 103."""
        if self._reply.status < 200:
            raise BadReply("its 1xx answer has a body")

    def _finish(self, *, reuse: bool) -> None:
        on_reply, self._on_reply = self._on_reply, None
        self._reply.head, self._reply.body = self._head, b"".join(self._chunks)
        self.may_be_reused = reuse
        self._complete = False
        if on_reply is not None:
            on_reply(self._reply)

    def _fail(self, error: Exception) -> None:
        on_reply = self._on_reply
        self.close()
        if on_reply is not None:
            on_reply(error)


async def open_connection(host: str, port: int, tls: ssl.SSLContext | None, server_name: str) -> Connection:
    """Connect to an address; `server_name` is for SNI and the certificate.

    Raises:
        OSError: it cannot be reached; ssl.SSLError is one.

    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        Connection, host, port, ssl=tls, server_hostname=server_name if tls else None
    )
    return connection


def _cause(error: httptools.HttpParserError) -> BadReply:
    """Return the error that a callback raised, else llhttp's."""
    if isinstance(error.__context__, BadReply):
        return error.__context__
    return BadReply(f"its answer is not valid HTTP/1.1: {error}")
