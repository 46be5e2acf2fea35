"""More events than the sidecar can hold: the excess gets a quick 503 with Retry-After, and it recovers soon."""

from __future__ import annotations

import asyncio
import json
import statistics
from pathlib import Path
from typing import Any

from sidecar.intake.endpoint import MAX_REQUESTS
from tests.end_to_end.conftest import written
from tests.end_to_end.load import Answers, an_event, new_ids, post_steadily
from tests.end_to_end.processes import Emulator, sidecar
from tests.fakes import connected, eventually
from tests.running import to_one

PATIENT: dict[str, Any] = {
    "timeouts": {"connect": "4s", "attempt": "4s", "deadline": "4s"},
    "health_check": {"interval": "60s", "timeout": "4s"},
    "coalesce": {"linger": "50ms"},
}
"""So that EventGate's slowness, and neither the number of connections to it nor a deadline, holds the events up."""


async def test_overload_is_answered_at_once_and_ends_at_once(eventgate: Emulator, tmp_path: Path) -> None:
    """With a slow EventGate, 600 events a second fill the limit; the rest get 503 soon, and none is lost."""
    eventgate.forget()
    answers: Answers = {}
    with sidecar(written(to_one(eventgate.address, **PATIENT), tmp_path)) as running:
        ids = new_ids()
        async with connected(running.address) as client:
            assert (await client.post(an_event(next(ids)))).status == 201
        await asyncio.to_thread(eventgate.fault, "slow", 3.0)
        clock = asyncio.get_running_loop().time
        until = clock() + 3.0
        await post_steadily(running.address, ids, answers, 600.0, lambda: clock() > until)
        await asyncio.to_thread(eventgate.fault, "none")
        async with connected(running.address) as client:
            again = await client.post(an_event(next(ids)))
        assert again.status == 201, "it is taken as soon as there is room"
        await eventually(lambda: running.gauge("eventgate_sidecar_requests_in_flight") == 0)
    refused = [told.seconds for told in answers.values() if told.status == 503]
    taken = [id_ for id_, told in answers.items() if told.status == 201]
    assert {told.status for told in answers.values()} == {201, 503}
    assert MAX_REQUESTS <= len(taken) < len(answers)
    assert statistics.median(refused) < 0.5, "what is refused costs little"
    assert set(taken) <= {json.loads(each["raw"])["meta"]["id"] for each in eventgate.kept}
