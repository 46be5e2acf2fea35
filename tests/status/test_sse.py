"""Promises of `sse`: a stream ends when its reader leaves or the sidecar stops, and nothing waits for a reader."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from sidecar.status.sse import END, END_SECONDS, KEEP_ALIVE_SECONDS, RETRY, STUCK_SECONDS, Feeds, FeedSource, message
from tests.fakes import connected, eventually
from tests.running import serving


class Reader:
    """Reads an ASGI stream at a given pace."""

    def __init__(self) -> None:
        """It reads on and on."""
        self.read: list[bytes] = []
        self.complete = self.aborted = False
        self.leaves = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()

    async def receive(self) -> Message:
        """Tell that it has gone."""
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, sent: Message) -> None:
        """Take a part, once it reads."""
        await self.reads.wait()
        self.read.append(sent.get("body", b""))
        self.complete = sent["type"] == "http.response.body" and not sent["more_body"]

    def abort(self) -> None:
        """Lose the connection."""
        self.aborted = True
        self.reads.set()

    async def run(self, answer: Response) -> None:
        """Let the answer come."""
        scope = {"type": "http", "extensions": {"eventgate_sidecar": {"abort": self.abort}}}
        await answer(scope, self.receive, self.send)


def request(method: str = "GET") -> Request:
    """Return a request."""
    return Request({"type": "http", "method": method, "path": "/", "query_string": b"", "headers": []})


@contextlib.asynccontextmanager
async def open_feed(feeds: Feeds, source: FeedSource) -> AsyncIterator[tuple[Reader, asyncio.Task[None]]]:
    """Start a reader."""
    reader = Reader()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reader.run(feeds.answer(request(), source)))
        yield reader, task
        reader.leaves.set()


@pytest.mark.parametrize(
    ("data", "written"),
    [("a", b"data: a\n\n"), ("a\nb\r\nc\rd", b"data: a\ndata: b\ndata: c\ndata: d\n\n"), ("", b"data: \n\n")],
)
def test_a_message_may_have_any_lines(data: str, written: bytes) -> None:
    """None is taken for another field."""
    assert message(data) == written


@pytest.mark.looptime
async def test_messages_are_sent_at_intervals() -> None:
    """The first at once."""
    told = [b"1", b"", b"2"]
    feeds = Feeds(1, 2.0)
    async with open_feed(feeds, nullcontext(lambda: told.pop(0) if told else b"")) as (reader, _):
        await asyncio.sleep(1)
        assert reader.read == [b"", RETRY + b"1"]
        await asyncio.sleep(3.5)
        assert reader.read[2:] == [b"2"]


@pytest.mark.looptime
async def test_comments_are_sent_without_messages() -> None:
    """So both sides notice a lost connection."""
    async with open_feed(Feeds(1, 1.0), nullcontext(lambda: b"")) as (reader, _):
        await asyncio.sleep(2 * KEEP_ALIVE_SECONDS + 0.5)
        assert reader.read[2:] == [b":\n\n", b":\n\n"]


@pytest.mark.looptime
async def test_the_source_is_closed_when_its_reader_leaves() -> None:
    """And its place is free."""
    inside: list[str] = []

    @contextlib.contextmanager
    def source() -> Iterator[Callable[[], bytes]]:
        inside.append("in")
        yield lambda: b"x"
        inside.append("out")

    feeds = Feeds(1, 1.0)
    async with open_feed(feeds, source()) as (reader, task):
        await asyncio.sleep(3)
        assert (inside, feeds.open) == (["in"], 1)
        reader.leaves.set()
        await task
        assert (inside, feeds.open) == (["in", "out"], 0)


@pytest.mark.looptime
async def test_the_source_is_not_polled_for_a_slow_reader() -> None:
    """So messages do not pile up."""
    numbers = itertools.count(1)
    async with open_feed(Feeds(1, 1.0), nullcontext(lambda: b"%d" % next(numbers))) as (reader, _):
        await asyncio.sleep(2.5)
        reader.reads.clear()
        await asyncio.sleep(10)
        reader.reads.set()
        await asyncio.sleep(0.1)
        assert reader.read[1:] == [RETRY + b"1", b"2", b"3", b"4"]


@pytest.mark.looptime
async def test_a_stuck_reader_is_disconnected() -> None:
    """After some time."""
    feeds = Feeds(1, 1.0)
    async with open_feed(feeds, nullcontext(lambda: b"x")) as (reader, task):
        await asyncio.sleep(1.5)
        reader.reads.clear()
        await asyncio.sleep(STUCK_SECONDS - 1)
        assert not task.done()
        await asyncio.sleep(2)
        assert (task.done(), reader.aborted, feeds.open) == (True, True, 0)


@pytest.mark.looptime
async def test_the_stop_ends_all_streams() -> None:
    """At once if they are read, soon otherwise; new ones are refused."""
    feeds = Feeds(2, 1.0)
    async with (
        open_feed(feeds, nullcontext(lambda: b"x")) as (reader, task),
        open_feed(feeds, nullcontext(lambda: b"x")) as (stuck, stuck_task),
    ):
        await asyncio.sleep(1.5)
        stuck.reads.clear()
        feeds.end()
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        assert (task.done(), reader.read[-1], reader.complete, stuck_task.done()) == (True, END, True, False)
        await asyncio.sleep(END_SECONDS)
        assert (stuck_task.done(), stuck.aborted) == (True, True)
    assert feeds.answer(request(), nullcontext(lambda: b"")).status_code == 503


@pytest.mark.looptime
async def test_open_streams_have_a_maximum() -> None:
    """The next is refused, until one has left."""
    feeds = Feeds(1, 1.0)
    async with open_feed(feeds, nullcontext(lambda: b"x")):
        await asyncio.sleep(0.1)
        refusal = feeds.answer(request(), nullcontext(lambda: b""))
        assert (refusal.status_code, b"1 streams like this are open already" in refusal.body) == (503, True)
    assert feeds.answer(request(), nullcontext(lambda: b"")).status_code == 200


async def test_head_opens_no_stream() -> None:
    """It ends at once."""
    answer = Feeds(1, 1.0).answer(request("HEAD"), nullcontext(lambda: b"x"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(answer), base_url="http://sidecar") as client:
        head = await client.head("/")
    assert (head.headers["content-type"], head.headers["cache-control"]) == (
        "text/event-stream; charset=utf-8",
        "no-store",
    )


async def test_a_closed_connection_is_noticed() -> None:
    """On a real connection: its place is free."""
    feeds = Feeds(1, 0.01)

    async def endpoint(asked: Request) -> Response:
        return feeds.answer(asked, nullcontext(lambda: message("x" * 1000)))

    async with serving(Starlette(routes=[Route("/", endpoint)])) as address:
        async with connected(address) as client:
            await client.send(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await eventually(lambda: feeds.open == 1)
        await eventually(lambda: feeds.open == 0)


async def test_the_stop_does_not_wait_for_a_stuck_reader() -> None:
    """On a real connection with full buffers."""
    feeds = Feeds(1, 0.001)
    ends: list[str] = []

    async def endpoint(asked: Request) -> Response:
        ours = asked.scope["extensions"]["eventgate_sidecar"]
        abort = ours["abort"]

        def recorded() -> None:
            ends.append("aborted")
            abort()

        ours["abort"] = recorded
        return feeds.answer(asked, nullcontext(lambda: b"x" * 32_000_000))

    async with serving(Starlette(routes=[Route("/", endpoint)])) as address, connected(address) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await eventually(lambda: feeds.open == 1)
        feeds.end()
        await eventually(lambda: ends == ["aborted"])
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert not (await client.rest()).endswith(b"0\r\n\r\n")
