"""Feeds: answers of server-sent events that go on until their reader leaves or the sidecar stops.

What there is to tell is asked for at intervals, and not kept for a reader who is slow: he is asked about again once
he has read. So nothing grows here, and nobody waits for a reader; at the stop least of all.
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
"""After so long without anything to tell a comment is sent, by which each side learns that the other is there."""
STUCK_SECONDS = 30.0
"""A reader who takes nothing for so long is let go."""
END_SECONDS = 0.5
"""How long, at the stop, a reader has to take the end."""
END = b"event: end\ndata:\n\n"
"""The last event, by which the stop is told from a connection that was lost."""
RETRY = b"retry: 2000\n\n"
"""How many milliseconds a browser waits before it comes back."""
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_LINE_END = re.compile(r"\r\n|\r|\n")

FeedSource = AbstractContextManager[Callable[[], bytes]]
"""Entered for one reader; what it gives returns what there is to tell him now, which may be nothing."""


def message(data: str) -> bytes:
    """Return `data` as one server-sent event."""
    return "".join([*(f"data: {line}\n" for line in _LINE_END.split(data)), "\n"]).encode()


class Feeds:
    """The feeds of one kind: a few at once, and none once the sidecar stops."""

    def __init__(self, most: int, apart: float) -> None:
        """`most` at once; each source is asked every `apart` seconds."""
        self._most = most
        self.apart = apart
        self.open = 0
        self.ended = asyncio.Event()

    def answer(self, request: Request, source: FeedSource) -> Response:
        """Return the answer that tells what `source` has to tell, or why there is none."""
        if self.ended.is_set():
            return JSONResponse({"detail": "the sidecar stops"}, 503)
        if self.open >= self._most:
            return JSONResponse({"detail": f"{self._most} streams like this are open already; close one"}, 503)
        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=Feed.media_type)
        return Feed(self, source)

    def end(self) -> None:
        """End those that are open, and begin no more."""
        self.ended.set()


class Feed(Response):
    """One answer that goes on; `Feeds` makes it."""

    media_type = "text/event-stream"

    def __init__(self, feeds: Feeds, source: FeedSource) -> None:
        """Nothing is asked yet."""
        self.status_code = 200
        self.background = None
        self._feeds = feeds
        self._source = source
        self.init_headers(HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until the reader leaves or the stop."""
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
            asyncio.get_running_loop().call_later(END_SECONDS, abort)  # whoever reads has it by then
        await send({"type": "http.response.body", "body": END if stops else b"", "more_body": False})

    async def _until_the_end(self, take: Callable[[], bytes], receive: Receive, send: Send) -> None:
        """Write in a task of its own: a write may be waiting for the reader when the end comes.

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
            stuck = True  # raised here, it would itself be in a group: in Python 3.11.2, which Debian has, it is
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
    """Return when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _nothing() -> None:
    """Abort nothing, where the server gives no means."""
