"""One hand-over: a POST of spooled events to a gateway, and its result.

Only a gateway may take it. Events of a spool have not been routed yet, so an EventGate must not accept them: their
content type is one that EventGate treats as an empty body. Events are deleted here only when the gateway answers that
it has stored this number of events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import msgspec

from sidecar.eventgate.client import AGENT, KEEPALIVE_SECONDS, phrase
from sidecar.eventgate.connection import Connection, Reply, open_connection
from sidecar.eventgate.failures import system_words
from sidecar.eventgate.trust import Trust
from sidecar.events.outgoing import HAND_OVER, LABELS

CONNECT_SECONDS = 1.0
POST_SECONDS = 5.0
MAX_REPLY_BYTES = 64 * 1024


class Ended(msgspec.Struct, frozen=True):
    """The result of a hand-over."""

    reason: str = ""
    """Why the gateway did not take the events; empty if it did."""
    doubtful: bool = False
    """Whether it may have them nevertheless."""


class Gateway:
    """A gateway, with one connection."""

    def __init__(self, url: str, labels: Mapping[str, str]) -> None:
        """`url` is for POSTs of events; `labels` are this pod's."""
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self._trust = Trust(None) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._trust else 80)
        self._head = (
            f"POST {parts.path or '/v1/events'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {HAND_OVER}\r\n"
            f"User-Agent: {AGENT[1]}\r\n{LABELS}: {urlencode(labels)}\r\n"
        )
        self._connection: Connection | None = None
        self._used = 0.0

    async def post(self, ip: str, body: bytes, events: int) -> Ended:
        """POST `body` with `events` events to an address; raises nothing but cancellation."""
        clock = asyncio.get_running_loop().time
        connection, self._connection = self._connection, None
        if connection is None or not connection.is_open or clock() - self._used > KEEPALIVE_SECONDS:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    tls = self._trust.context if self._trust else None
                    connection = await open_connection(ip, self._port, tls, self.host)
            except TimeoutError:
                return Ended(f"no connection to {ip} within {CONNECT_SECONDS:g} s")
            except OSError as error:
                return Ended(f"cannot connect to {ip}: {system_words(error)}")
        try:
            reply = await self._exchange(connection, body)
        except BaseException:
            connection.close()
            raise
        if connection.may_be_reused and connection.is_open:
            self._connection, self._used = connection, clock()
        else:
            connection.close()
        return _read(reply, events) if isinstance(reply, Reply) else Ended(f"no answer: {reply}", doubtful=True)

    async def _exchange(self, connection: Connection, body: bytes) -> Reply | Exception:
        answered: asyncio.Future[Reply | Exception] = asyncio.get_running_loop().create_future()
        data = f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body

        def take(reply: Reply | Exception) -> None:
            if not answered.done():
                answered.set_result(reply)

        connection.exchange(data, take, MAX_REPLY_BYTES)
        try:
            async with asyncio.timeout(POST_SECONDS):
                return await answered
        except TimeoutError:
            return TimeoutError(f"nothing within {POST_SECONDS:g} s")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


def _read(reply: Reply, events: int) -> Ended:
    """Return the result in an answer; it is doubtful if the answer is not a sidecar's."""
    said = reply.headers.get("x-eventgate-sidecar", "")
    if reply.status == 202 and said == f"spooled; events={events}":
        return Ended()
    words = f"it answered {reply.status} {phrase(reply)}"
    if not said:
        words += ", and is no gateway"
    elif reply.body:
        words += f": {_detail(reply.body)}"
    return Ended(words, doubtful=reply.status < 300 or (reply.status >= 500 and not said))


def _detail(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, object]).get("detail", ""))
    except (ValueError, RecursionError):
        return ""
