"""Get events accepted: which endpoint, how often, until when. The one loop that tries again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from sidecar.config import Upstream
from sidecar.event import Outgoing
from sidecar.eventgate import EventGate
from sidecar.results import EventStatus, failed
from sidecar.retry import Failed, FailureClass, may_try_again
from sidecar.telemetry import PostAnswered, PostFailed, Telemetry

MIN_ATTEMPT_SECONDS = 0.05
"""With less time left than this an attempt would only make the events ambiguous."""


class Delivery:
    """Sends events to the endpoints of each upstream."""

    def __init__(self, upstreams: Mapping[str, Upstream], telemetry: Telemetry) -> None:
        """Prepare an `EventGate` for each endpoint; nothing is contacted yet.

        Raises:
            SettingError: a CA file cannot be read.

        """
        self._upstreams = dict(upstreams)
        self._telemetry = telemetry
        self._endpoints = {
            name: [EventGate(endpoint, url, each.tls, each.timeouts) for endpoint, url in each.endpoints]
            for name, each in upstreams.items()
        }

    async def deliver(
        self,
        upstream: str,
        events: Sequence[Outgoing],
        headers: Sequence[tuple[str, str]],
        hasty: bool,
    ) -> list[EventStatus]:
        """Send `events` as one array to `upstream`; return their statuses, in their order, within its deadline."""
        policy = self._upstreams[upstream]
        clock = time.monotonic
        give_up = clock() + policy.timeouts.deadline
        sent = 0
        end, tried = Failed(FailureClass.NEVER_SENT, "there was no time left to try"), ""
        plan = _plan(self._endpoints[upstream])
        for number, endpoint in enumerate(plan):
            left = give_up - clock()
            if left < MIN_ATTEMPT_SECONDS:
                break
            result = await self._attempt(upstream, endpoint, events, headers, hasty, left)
            if not isinstance(result, Failed):
                return [
                    msgspec.structs.replace(each, upstream=upstream, endpoint=endpoint.name) for each in result
                ]
            end, tried = result, endpoint.name
            sent += end.failure is not FailureClass.NEVER_SENT
            if not may_try_again(end, sent, policy.on_ambiguous):
                break
            if end.failure is FailureClass.THROTTLED and plan[number + 1 : number + 2] == [endpoint]:
                await asyncio.sleep(min(end.retry_after, max(0.0, give_up - clock() - policy.timeouts.attempt)))
        return [_undelivered(event, upstream, tried, end) for event in events]

    async def aclose(self) -> None:
        """Close all connections."""
        for endpoints in self._endpoints.values():
            for endpoint in endpoints:
                await endpoint.aclose()

    async def _attempt(
        self,
        upstream: str,
        endpoint: EventGate,
        events: Sequence[Outgoing],
        headers: Sequence[tuple[str, str]],
        hasty: bool,
        seconds: float,
    ) -> list[EventStatus] | Failed:
        clock = time.monotonic
        start = clock()
        result = await endpoint.post(events, headers, hasty, seconds)
        took = clock() - start
        if isinstance(result, Failed):
            self._telemetry.emit(PostFailed(upstream, endpoint.name, result.failure, result.reason, took))
        else:
            self._telemetry.emit(PostAnswered(upstream, endpoint.name, len(events), took))
        return result


def _plan(endpoints: list[EventGate]) -> list[EventGate]:
    """Return the endpoints in the order to try them; one that stands alone is tried twice, as a name with many
    servers behind it may well answer the second time.
    """
    return endpoints if len(endpoints) > 1 else endpoints * 2


def _undelivered(event: Outgoing, upstream: str, endpoint: str, end: Failed) -> EventStatus:
    unreachable = end.failure is not FailureClass.REFUSED
    message = f"not accepted by {upstream}: {endpoint}: {end.reason}" if endpoint else f"{upstream}: {end.reason}"
    if end.failure is FailureClass.AMBIGUOUS:
        message += "; it may have been taken nevertheless"
    status = failed(event.index, event.body, message, unreachable)
    return msgspec.structs.replace(status, upstream=upstream, endpoint=endpoint)
