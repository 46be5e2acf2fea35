"""The producers: post at the scheduled times, whatever the answers: `python -m tests.longrun.client`.

It shares a core with the sidecar, so it must use little of it: events are filled-in templates, and httptools reads the
answers. The output gets a line for each request with its result, which `records` reads. Times are seconds of the
machine's monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO, cast

import httptools
import uvloop

from tests.longrun.schedule import Phase, made

TICK_SECONDS = 0.005
PATIENCE_SECONDS = 5.0
"""Lift Wing's model servers give up after this time."""
MOST_IN_FLIGHT = 3000
"""Further events that are due are not posted: a model server waits for its answers."""
IDLE_CONNECTIONS = 200
NEW_CONNECTION_SHARE = 0.15
"""Share of the requests that use a new connection and close it."""
KINDS = ("lone", "quick", "array", "mixed", "invalid", "nowhere", "garbage")
WEIGHTS = (76, 6, 10, 2, 3, 2, 1)
"""A request that is not lone: to a route that answers from the spool, an array, an array with an invalid event
in it (the last), an invalid event, one that no route takes, and no JSON."""
LARGEST_ARRAY = 16
STREAMS = {"quick": "quick", "nowhere": "nowhere"}
AGENTS, AGENT_WEIGHTS = ("model-server", "another", "curl"), (90, 8, 2)
"""Events of different clients are sent separately, since each user agent is passed on."""
PADDING = "x" * 200
now = time.perf_counter  # noqa: TID251  uvloop's own clock has milliseconds, and stands still within a turn of the loop


def event(number: int, stream: str = "score", more: str = "") -> str:
    """Return an event that EventGate accepts, unless `more` makes it invalid."""
    meta = f'{{"stream":"{stream}","id":"{number:08}-1111-4111-8111-111111111111","dt":"2026-11-22T00:00:00Z"}}'
    return f'{{"$schema":"/test/event/1.0.0","meta":{meta},"test":"{PADDING}"{more}}}'


def body(kind: str, first: int, count: int) -> bytes:
    """Return a request's body."""
    if kind == "garbage":
        return b'{"meta": {"stream": '
    stream = STREAMS.get(kind, "score")
    spoilt = first + count - 1 if kind in {"mixed", "invalid"} else -1
    events = [event(each, stream, ',"surplus":1' if each == spoilt else "") for each in range(first, first + count)]
    return (f"[{','.join(events)}]" if kind in {"array", "mixed"} else events[0]).encode()


class Request:
    """One POST in flight."""

    __slots__ = ("count", "data", "first", "kind", "lag", "sent")

    def __init__(self, kind: str, first: int, count: int, agent: str, lag: float) -> None:
        """It is sent once there is a connection."""
        self.kind, self.first, self.count, self.lag = kind, first, count, lag
        content = body(kind, first, count)
        head = f"POST /v1/events HTTP/1.1\r\nhost: localhost\r\nuser-agent: {agent}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        self.data = head.encode() + content
        self.sent = now()


class Connection(asyncio.Protocol):
    """A connection to the sidecar, with at most one request on it."""

    def __init__(self, producers: Producers, request: Request, *, keep: bool) -> None:
        """`keep`: whether other requests follow this one."""
        self._producers = producers
        self.request: Request | None = request
        self._keep = keep
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._words = ""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Write the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent
        if self.request is not None:
            self._transport.write(self.request.data)

    def post(self, request: Request) -> None:
        """Write another request."""
        self.request = request
        self._transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        """Read part of an answer."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the header with the outcome."""
        if name.lower() == b"x-eventgate-sidecar":
            self._words = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Keep it."""
        self._body += data

    def on_message_complete(self) -> None:
        """Record the answer, and be ready for the next request."""
        request, self.request = self.request, None
        assert request is not None, "an answer that nobody asked for"
        self._producers.answered(request, self._parser.get_status_code(), self._words, self._body)
        self._words, self._body = "", b""
        if self._keep and self._parser.should_keep_alive() and self._producers.takes_back(self):
            return
        self._transport.close()

    def give_up(self) -> None:
        """Stop waiting."""
        request, self.request = self.request, None
        if request is not None:
            self._producers.note(request, "late")
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """Record that there will be no answer."""
        self._producers.lost(self)
        if self.request is not None:
            self._producers.note(self.request, "cut")


class Producers:
    """All clients, their connections and their answers."""

    def __init__(self, address: tuple[str, int], seed: int, output: TextIO) -> None:
        """`output` gets a line for each request."""
        self._address = address
        self._chance = random.Random(f"{seed} posts")
        self._output = output
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._next = 0
        self.in_flight = 0

    def post(self, tasks: asyncio.TaskGroup, lag: float) -> int:
        """Post something this many seconds late; return the number of its events."""
        chance = self._chance
        (kind,) = chance.choices(KINDS, WEIGHTS)
        count = chance.randint(2, LARGEST_ARRAY) if kind in {"array", "mixed"} else 1
        (agent,) = chance.choices(AGENTS, AGENT_WEIGHTS)
        new = chance.random() < NEW_CONNECTION_SHARE
        if self.in_flight >= MOST_IN_FLIGHT:
            return count
        request = Request(kind, self._next, count, agent, lag)
        self._next += count
        self.in_flight += 1
        if self._idle and not new:
            self._idle.popleft().post(request)
        else:
            tasks.create_task(self._connect(request, keep=not new))
        return count

    async def _connect(self, request: Request, *, keep: bool) -> None:
        connection = Connection(self, request, keep=keep)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, *self._address)
        except OSError:
            self.note(request, "unreachable")
        else:
            self._open.add(connection)

    def takes_back(self, connection: Connection) -> bool:
        """Keep a connection for later, unless there are enough."""
        if len(self._idle) >= IDLE_CONNECTIONS:
            return False
        self._idle.append(connection)
        return True

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def answered(self, request: Request, status: int, words: str, content: bytes) -> None:
        """Record an answer, with the numbers of the events that it lists as failed."""
        failed = "-" if status in {201, 202} else _failed(content)
        self.note(request, str(status), words.partition(";")[0] or "-", failed)

    def note(self, request: Request, fate: str, words: str = "-", failed: str = "-") -> None:
        """Write the result of a request."""
        self.in_flight -= 1
        took = now() - request.sent
        what = f"{request.first} {request.count} {request.kind}"
        self._output.write(f"{request.sent:.6f} {took:.6f} {request.lag:.4f} {what} {fate} {words} {failed}\n")

    def give_up_on_late_ones(self) -> None:
        """Stop waiting for requests that took too long."""
        since = now() - PATIENCE_SECONDS
        for connection in list(self._open):
            if connection.request is not None and connection.request.sent < since:
                connection.give_up()


def _failed(content: bytes) -> str:
    """Return the numbers of the events in EventGate's lists of failures; `*` if there are none: all of them failed."""
    try:
        lists = json.loads(content)
        failures = [*lists.get("invalid", ()), *lists.get("error", ())]
    except (ValueError, AttributeError):
        return "*"
    return ",".join(str(int(each["event"]["meta"]["id"][:8])) for each in failures) or "*"


def due(phases: Sequence[Phase], seconds: float) -> Iterator[tuple[float, float]]:
    """Yield the time of each tick, and the number of events due until then."""
    total, place = 0.0, 0
    for tick in range(int(seconds / TICK_SECONDS)):
        at = tick * TICK_SECONDS
        while place + 1 < len(phases) and phases[place + 1].at <= at:
            place += 1
        total += phases[place].rate * TICK_SECONDS
        yield at, total


async def run(options: argparse.Namespace, output: TextIO) -> None:
    """Post everything that is scheduled; the start time comes on standard input."""
    loop = asyncio.get_running_loop()
    plan = made(options.seed, options.seconds)
    producers = Producers(("127.0.0.1", options.port), options.seed, output)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    begun = float((await asyncio.to_thread(sys.stdin.readline)).strip())
    posted, looked = 0, begun
    async with asyncio.TaskGroup() as tasks:
        for at, events in due(plan.phases, plan.seconds):
            await asyncio.sleep(max(0.0, begun + at - now()))
            while posted < events:
                posted += producers.post(tasks, now() - begun - at)
            if now() - looked > 0.5:
                looked = now()
                producers.give_up_on_late_ones()
        ended = loop.time()
        while producers.in_flight and loop.time() < ended + 2 * PATIENCE_SECONDS:
            await asyncio.sleep(0.1)
            producers.give_up_on_late_ones()


def main() -> None:
    """Run the producers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with (
        options.output.open("w", buffering=1 << 16) as output,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as it,
    ):
        it.run(run(options, output))
    sys.stdout.write(f"{sum(os.times()[:2])}\n")


if __name__ == "__main__":
    main()
