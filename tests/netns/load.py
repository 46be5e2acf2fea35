"""The traffic: posts events by the clock, as a model server does: `python -m tests.netns.load`.

It waits for a line on standard input, posts so many events a second whether or not the earlier ones are
answered, until standard input ends; then it waits for the answers that are due. Every event leaves a JSON
line in the output file when its fate is known. Times are those of the monotonic clock.
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
"""After this a model server of Lift Wing's gives up."""
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

    Without a `request_id` of its own EventGate takes that of the request.
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
    """Posts to one URL and writes down what comes back."""

    def __init__(self, session: aiohttp.ClientSession, url: str, output: TextIO, *, request_ids: bool) -> None:
        """`output` takes a line for each event; `request_ids`: each request has one, and its event has none."""
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
    connector = aiohttp.TCPConnector(limit=0)  # nobody waits here for a connection
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
