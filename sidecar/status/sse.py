"""Streams of server-sent events, which end when their reader leaves or the sidecar stops.

The source is polled at intervals, and only after the reader has taken the last message. So nothing grows here, and
nothing waits for a slow reader, in particular not the stop.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractContextManager

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

KEEP_ALIVE_SECONDS = 5.0
"""After this time without a message a comment is sent, to detect lost connections."""
STUCK_SECONDS = 30.0
"""A reader that takes nothing for this long is disconnected."""
END_SECONDS = 0.5
"""How long a reader has to take the last event at the stop."""
END = b"event: end\ndata:\n\n"
"""The last event, which distinguishes a stop from a lost connection."""
RETRY = b"retry: 2000\n\n"
"""Milliseconds before a browser reconnects."""
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_LINE_END = re.compile(r"\r\n|\r|\n")

FeedSource = AbstractContextManager[Callable[[], bytes]]
"""Entered for each reader; yields a function that returns new messages, maybe none."""


def message(data: str) -> bytes:
    """Format `data` as one server-sent event."""
    return "".join([*(f"data: {line}\n" for line in _LINE_END.split(data)), "\n"]).encode()


class Feeds:
    """The open feeds of one kind, limited in number."""

    def __init__(self, most: int, apart: float) -> None:
        """At most `most` at once; each source is polled every `apart` seconds."""
        self._most = most
        self.apart = apart
        self.open = 0
        self.ended = asyncio.Event()

    def answer(self, request: Request, source: FeedSource) -> Response:
        """Return a feed of `source`, or a refusal."""
        if self.ended.is_set():
            return JSONResponse({"detail": "the sidecar stops"}, 503)
        if self.open >= self._most:
            return JSONResponse({"detail": f"{self._most} streams like this are open already; close one"}, 503)
        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=Feed.media_type)
        return Feed(self, source)

    def end(self) -> None:
        """End all feeds, and refuse new ones."""
        self.ended.set()


class Feed(Response):
    """One feed, created by `Feeds`."""

    media_type = "text/event-stream"

    def __init__(self, feeds: Feeds, source: FeedSource) -> None:
        """Prepare the headers."""
        self.status_code = 200
        self.background = None
        self._feeds = feeds
        self._source = source
        self.init_headers(HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until the reader leaves or the sidecar stops."""
        abort = scope.get("extensions", {}).get("eventgate_sidecar", {}).get("abort", _nothing)
        self._feeds.open += 1
        try:
            with self._source as take:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._until_the_end(take, receive, send)
        except TimeoutError:
            abort()
        finally:
            self._feeds.open -= 1
        stops = self._feeds.ended.is_set()
        if stops:
            asyncio.get_running_loop().call_later(END_SECONDS, abort)  # a reader that reads has it by then
        await send({"type": "http.response.body", "body": END if stops else b"", "more_body": False})

    async def _until_the_end(self, take: Callable[[], bytes], receive: Receive, send: Send) -> None:
        """Write in a separate task, since a write may be waiting for the reader at the stop.

        Raises:
            TimeoutError: the reader is stuck.

        """
        stuck = False
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write(take, send))
                ends = [tasks.create_task(_gone(receive)), tasks.create_task(self._feeds.ended.wait())]
                await asyncio.wait([writing, *ends], return_when=asyncio.FIRST_COMPLETED)
                for each in (writing, *ends):
                    each.cancel()
        except* TimeoutError:
            stuck = True  # raised here it would be wrapped in a group, as in Debian's Python 3.11.2
        if stuck:
            raise TimeoutError

    async def _write(self, take: Callable[[], bytes], send: Send) -> None:
        clock = asyncio.get_running_loop().time
        data, last = RETRY + take(), clock()
        while True:
            if not data and clock() - last >= KEEP_ALIVE_SECONDS:
                data = b":\n\n"
            if data:
                async with asyncio.timeout(STUCK_SECONDS):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                last = clock()
            await asyncio.sleep(self._feeds.apart)
            data = take()


async def _gone(receive: Receive) -> None:
    """Wait until the reader has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _nothing() -> None:
    """Do nothing if the server has no way to abort."""
