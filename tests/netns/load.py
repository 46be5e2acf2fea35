"""The traffic: posts events at a fixed rate, as a model server does: `python -m tests.netns.load`.

It waits for a line on standard input, and then posts at this rate until standard input ends, whether or not earlier
events are answered. Then it waits for the outstanding answers. The output file gets a JSON line for each event with its
result. Times are of the monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import aiohttp

CLIENT_SECONDS = 5.0
"""Lift Wing's model servers give up after this time."""
TOPICS = (
    "Culture.Biography.Biography*", "Culture.Biography.Women", "Culture.Food and drink",
    "Culture.Internet culture", "Culture.Linguistics", "Culture.Literature", "Culture.Media.Books",
    "Culture.Sports", "Geography.Geographical", "Geography.Regions.Africa.Africa*",
    "Geography.Regions.Europe.Europe*", "History and Society.History",
    "History and Society.Politics and government", "History and Society.Transportation",
    "STEM.Biology", "STEM.STEM*",
)  # fmt: skip


def event(number: int, *, request_id: bool = True) -> tuple[str, bytes]:
    """Return the id and the bytes of a revision score of about 1 kB, as drafttopic sends it.

    If it has no `request_id`, EventGate uses that of the request.
    """
    identifier = str(uuid.uuid4())
    score = {
        "model_name": "drafttopic",
        "model_version": "1.3.0",
        "prediction": ["STEM.STEM*"],
        "probability": {topic: round(0.01 + place / 20, 4) for place, topic in enumerate(TOPICS)},
    }
    body: dict[str, Any] = {
        "$schema": "/mediawiki/revision/score/3.0.0",
        "meta": {
            "stream": "mediawiki.revision_score_drafttopic",
            "id": identifier,
            "domain": "en.wikipedia.org",
            "request_id": str(uuid.uuid4()),
        },
        "dt": "2026-11-22T00:00:00Z",
        "database": "enwiki",
        "page_id": 1000 + number,
        "page_title": f"Page {number}",
        "page_namespace": 0,
        "page_is_redirect": False,
        "rev_id": 100000 + number,
        "rev_timestamp": "2026-11-22T00:00:00Z",
        "scores": {"drafttopic": score},
    }
    if not request_id:
        del body["meta"]["request_id"]
    return identifier, json.dumps(body).encode()


class Poster:
    """Posts to one URL and records the answers."""

    def __init__(self, session: aiohttp.ClientSession, url: str, output: TextIO, *, request_ids: bool) -> None:
        """`output` gets a line for each event; `request_ids`: requests have one, events do not."""
        self._request_ids = request_ids
        self._session = session
        self._url = url
        self._output = output
        self._clock: Callable[[], float] = asyncio.get_running_loop().time

    async def post(self, number: int, due: float) -> None:
        """Post one event and wait for its answer."""
        identifier, body = event(number, request_id=not self._request_ids)
        record: dict[str, object] = {"id": identifier}
        sent = self._clock()
        try:
            headers = {"content-type": "application/json"}
            if self._request_ids:
                headers["x-request-id"] = str(uuid.uuid4())
            async with self._session.post(self._url, data=body, headers=headers) as response:
                await response.read()
                record["status"] = response.status
                record["outcome"] = response.headers.get("x-eventgate-sidecar", "")
                record["retry_after"] = response.headers.get("retry-after", "")
        except (aiohttp.ClientError, TimeoutError) as error:
            record["error"] = f"{type(error).__name__}: {error}"
        record.update(sent=sent, took=self._clock() - sent, lag=sent - due)
        self._output.write(json.dumps(record) + "\n")


async def run(url: str, rate: float, seconds: float, output: TextIO, *, request_ids: bool) -> None:
    """Post until standard input ends, for no longer than `seconds`."""
    loop = asyncio.get_running_loop()
    told = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    timeout = aiohttp.ClientTimeout(total=CLIENT_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)  # no limit: posts do not wait for a connection
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
        asyncio.TaskGroup() as posts,
    ):
        poster = Poster(session, url, output, request_ids=request_ids)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await told.readline()
        start = loop.time()
        for number in range(int(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            if told.at_eof():
                return
            posts.create_task(poster.post(number, due))


def main() -> None:
    """Run the traffic."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--request-ids", action="store_true")
    options = parser.parse_args()
    with options.output.open("a", buffering=1) as output:
        asyncio.run(run(options.url, options.rate, options.seconds, output, request_ids=options.request_ids))


if __name__ == "__main__":
    main()
