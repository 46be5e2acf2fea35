"""The program in the model's container: it scores pages and posts events, as Lift Wing's model servers do.

    model.py serve               wait for the sidecar; after SIGTERM finish requests in flight, as a model server does
    model.py post EVENTS SECONDS post this many events in this many seconds

Each post writes a line of JSON to standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request

from sidecar.demo.modelserver import KINDS, Posted, stream

URL = os.environ["EVENTGATE_URL"]
READY = "http://127.0.0.1:9102/readyz"
LOOK_SECONDS = 0.02
UNTIL_READY_SECONDS = 30.0
AFTER_SIGTERM_SECONDS = 8.0
"""How long requests in flight still take; kserve allows 30."""


def main(arguments: list[str]) -> None:
    """Run one of the two commands."""
    match arguments:
        case ["post", events, seconds]:
            asyncio.run(post(int(events), float(seconds)))
        case _:
            asyncio.run(serve())


async def serve() -> None:
    """Report when the sidecar is ready; after SIGTERM continue to post for a while, and end."""
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    say({"ready": await ready()})
    await terminated.wait()
    await post(int(10 * AFTER_SIGTERM_SECONDS), AFTER_SIGTERM_SECONDS)
    say({"drained": True})


async def ready() -> float:
    """Wait until the sidecar is ready; return the wall-clock time of that."""
    async with asyncio.timeout(UNTIL_READY_SECONDS):
        while not await asyncio.to_thread(is_ready):  # noqa: ASYNC110  the sidecar is another process
            await asyncio.sleep(LOOK_SECONDS)
    return time.time()  # noqa: TID251  to compare with when its container was started


def is_ready() -> bool:
    """Query the sidecar once."""
    try:
        with urllib.request.urlopen(READY, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def post(events: int, seconds: float) -> None:
    """Post events at an even pace, and record the answers."""
    posts: list[Posted] = []
    await stream(URL, posts, lambda: None, events=events, seconds=seconds)
    for each in posts:
        say(
            {
                "kind": KINDS.index(each.kind),
                "id": each.id,
                "body": each.body.decode(),
                "status": each.status,
                "reason": each.reason,
                "seconds": each.seconds,
            }
        )


def say(words: object) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
