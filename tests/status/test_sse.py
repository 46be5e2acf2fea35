"""Promises of `sse`: a stream goes on until its reader leaves or the stop, and waits for nobody."""

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
    """Reads a stream as ASGI hands it over, as fast as it is told to."""

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
    """Have somebody read."""
    reader = Reader()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reader.run(feeds.answer(request(), source)))
        yield reader, task
        reader.leaves.set()


@pytest.mark.parametrize(
    ("data", "written"),
    [("a", b"data: a\n\n"), ("a\nb\r\nc\rd", b"data: a\ndata: b\ndata: c\ndata: d\n\n"), ("", b"data: \n\n")],
)
def test_a_message_is_one_whatever_its_lines(data: str, written: bytes) -> None:
    """No line of it can be taken for anything else."""
    assert message(data) == written


@pytest.mark.looptime
async def test_what_there_is_is_told_at_intervals() -> None:
    """At once, and then each time there is something."""
    told = [b"1", b"", b"2"]
    feeds = Feeds(1, 2.0)
    async with open_feed(feeds, nullcontext(lambda: told.pop(0) if told else b"")) as (reader, _):
        await asyncio.sleep(1)
        assert reader.read == [b"", RETRY + b"1"]
        await asyncio.sleep(3.5)
        assert reader.read[2:] == [b"2"]


@pytest.mark.looptime
async def test_a_comment_comes_where_there_is_nothing() -> None:
    """By which it is noticed that a reader has gone, and by the reader that the sidecar has."""
    async with open_feed(Feeds(1, 1.0), nullcontext(lambda: b"")) as (reader, _):
        await asyncio.sleep(2 * KEEP_ALIVE_SECONDS + 0.5)
        assert reader.read[2:] == [b":\n\n", b":\n\n"]


@pytest.mark.looptime
async def test_a_source_is_left_when_its_reader_goes() -> None:
    """Nothing is collected for who does not listen any more, and his place is free."""
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
async def test_a_slow_reader_is_not_asked_for() -> None:
    """What he does not read is not made."""
    numbers = itertools.count(1)
    async with open_feed(Feeds(1, 1.0), nullcontext(lambda: b"%d" % next(numbers))) as (reader, _):
        await asyncio.sleep(2.5)
        reader.reads.clear()
        await asyncio.sleep(10)
        reader.reads.set()
        await asyncio.sleep(0.1)
        assert reader.read[1:] == [RETRY + b"1", b"2", b"3", b"4"]


@pytest.mark.looptime
async def test_a_reader_who_is_stuck_is_let_go() -> None:
    """He holds a place for a while, not for ever."""
    feeds = Feeds(1, 1.0)
    async with open_feed(feeds, nullcontext(lambda: b"x")) as (reader, task):
        await asyncio.sleep(1.5)
        reader.reads.clear()
        await asyncio.sleep(STUCK_SECONDS - 1)
        assert not task.done()
        await asyncio.sleep(2)
        assert (task.done(), reader.aborted, feeds.open) == (True, True, 0)


@pytest.mark.looptime
async def test_the_stop_ends_what_is_open() -> None:
    """At once where it is read, and soon where not; nothing begins any more."""
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
async def test_only_so_many_are_open_at_once() -> None:
    """The next is told so, and gets in when one has left."""
    feeds = Feeds(1, 1.0)
    async with open_feed(feeds, nullcontext(lambda: b"x")):
        await asyncio.sleep(0.1)
        refusal = feeds.answer(request(), nullcontext(lambda: b""))
        assert (refusal.status_code, b"1 streams like this are open already" in refusal.body) == (503, True)
    assert feeds.answer(request(), nullcontext(lambda: b"")).status_code == 200


async def test_who_asks_for_the_headers_gets_no_stream() -> None:
    """HEAD ends."""
    answer = Feeds(1, 1.0).answer(request("HEAD"), nullcontext(lambda: b"x"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(answer), base_url="http://sidecar") as client:
        head = await client.head("/")
    assert (head.headers["content-type"], head.headers["cache-control"]) == (
        "text/event-stream; charset=utf-8",
        "no-store",
    )


async def test_a_reader_who_hangs_up_is_noticed() -> None:
    """Over a real connection: his place is free again."""
    feeds = Feeds(1, 0.01)

    async def endpoint(asked: Request) -> Response:
        return feeds.answer(asked, nullcontext(lambda: message("x" * 1000)))

    async with serving(Starlette(routes=[Route("/", endpoint)])) as address:
        async with connected(address) as client:
            await client.send(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await eventually(lambda: feeds.open == 1)
        await eventually(lambda: feeds.open == 0)


async def test_the_stop_does_not_wait_for_a_reader_who_does_not_read() -> None:
    """Over a real connection whose buffers are full."""
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
