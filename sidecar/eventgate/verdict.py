"""Reads the status of each event from EventGate's answer.

EventGate echoes failures only, with defaults filled in and numbers as JavaScript writes them, in request order within
each kind (lib/eventgate.js). So `meta.id` is the only way to match them with the events sent. An answer with an unknown
event, or with too few or too many, is not a verdict.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sidecar.events.outgoing import Outgoing
from sidecar.events.results import SUCCESS, EventStatus, Outcome, StatusWord


@dataclass(frozen=True, slots=True)
class _Echo:
    """One failure in EventGate's answer."""

    status: StatusWord
    id: str | None
    described: bytes


class _EchoMeta(msgspec.Struct):
    id: str | None = None


class _EchoEvent(msgspec.Struct):
    meta: _EchoMeta | None = None


class _EchoStatus(msgspec.Struct):
    event: _EchoEvent | None = None


class _Failures(msgspec.Struct):
    invalid: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    error: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class _Kind:
    """The value of `status`; only its presence matters."""


class _CountedEcho(msgspec.Struct):
    status: _Kind


class _CountedFailures(msgspec.Struct):
    invalid: list[_CountedEcho] | msgspec.UnsetType = msgspec.UNSET
    error: list[_CountedEcho] | msgspec.UnsetType = msgspec.UNSET


_decode_failures = msgspec.json.Decoder(_Failures).decode
_decode_echo = msgspec.json.Decoder(_EchoStatus).decode
_HEX = rb"[0-9a-fA-F]{2}"
_ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB]%b\\u[dD][c-fC-F]%b|(\\u[dD][89a-fA-F]%b)" % (_HEX, _HEX, _HEX))
_COUNTS = re.compile(r"All (\d+) out of (\d+) events were accepted\.|(\d+) events hastily received\.", re.ASCII)
MAX_UNCOUNTED_BYTES = 64 * 1024
"""In a longer answer failures are counted before they are decoded: `[1,1,1,…` would take 40 times its length."""
MAX_REPAIRED_BYTES = 1024 * 1024
"""A longer answer with lone surrogates is not a verdict; the events are then sent in smaller arrays."""


def read(status: int, reason: str, body: bytes, events: Sequence[Outgoing], hasty: bool) -> list[EventStatus] | None:
    """Return the status of each event, in order; None if the answer has no verdict, or an impossible one.

    201 is a verdict, and 202 if the POST was `hasty`. 207, 400 and 500 are if their JSON has `invalid` or `error`, with
    as many of these events as EventGate lists under that status.
    """
    if status == 201 or (status == 202 and hasty):
        return _all_accepted(reason, body, events)
    if status not in (207, 400, 500):
        return None
    echoes = _echoes(body, len(events))
    if not echoes or (len(echoes) < len(events) and status != 207):
        return None
    if any(event.id is None for event in events):
        alike = len(echoes) == len(events) and len({echo.status for echo in echoes}) == 1
        return [*map(_failure, echoes)] if alike else None  # without ids they cannot be matched
    return _by_id(echoes, events)


def _all_accepted(reason: str, body: bytes, events: Sequence[Outgoing]) -> list[EventStatus] | None:
    """Accept the verdict unless reason or body contradict it; a proxy may have replaced the reason phrase."""
    said = _counts(reason)
    if (said and said != {len(events)}) or (body and _echoes(body, len(events))):
        return None
    return [SUCCESS] * len(events)


@functools.lru_cache(maxsize=256)
def _counts(reason: str) -> frozenset[int]:
    """Return the numbers of events in EventGate's reason phrase; none if it is another phrase."""
    found = _COUNTS.fullmatch(reason)
    return frozenset(int(count[:9]) for count in found.groups() if count) if found else frozenset()


def _echoes(body: bytes, events: int) -> list[_Echo] | None:
    """Return the failures in an answer to `events` events; None if it is not EventGate's."""
    try:
        if len(body) > MAX_UNCOUNTED_BYTES:
            _count(body, events)
        failures = _decode_failures(body)
    except (ValueError, RecursionError):
        repaired = _without_lone_surrogates(body) if len(body) <= MAX_REPAIRED_BYTES else body
        return _echoes(repaired, events) if repaired != body else None
    if failures.invalid is msgspec.UNSET and failures.error is msgspec.UNSET:
        return None
    invalid = failures.invalid if failures.invalid is not msgspec.UNSET else []
    error = failures.error if failures.error is not msgspec.UNSET else []
    return [_echo("invalid", raw) for raw in invalid] + [_echo("error", raw) for raw in error]


def _count(body: bytes, most: int) -> None:
    """Raise ValueError if there are more failures than `most`, or malformed ones."""
    left = iter(range(most))

    def count(_type: type, _word: object) -> _Kind:
        if next(left, None) is None:
            raise ValueError("more failures than events")
        return _Kind()

    msgspec.json.decode(body, type=_CountedFailures, dec_hook=count)


def _without_lone_surrogates(body: bytes) -> bytes:
    r"""Replace lone surrogates by U+FFFD: EventGate takes and echoes them (`"\ud800"`), msgspec refuses them."""
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], body)


def _echo(status: StatusWord, raw: msgspec.Raw) -> _Echo:
    try:
        echo = _decode_echo(raw)
    except (ValueError, RecursionError):
        return _Echo(status, None, bytes(raw))
    meta = echo.event.meta if echo.event else None
    return _Echo(status, meta.id if meta else None, bytes(raw))


def _by_id(echoes: Sequence[_Echo], events: Sequence[Outgoing]) -> list[EventStatus] | None:
    """Return the status of each event; None if the answer has unknown or duplicate ids."""
    echoed = {echo.id: echo for echo in echoes}
    if len(echoed) < len(echoes) or not echoed.keys() <= {event.id for event in events}:
        return None
    return [_failure(echoed[event.id]) if event.id in echoed else SUCCESS for event in events]


def _failure(echo: _Echo) -> EventStatus:
    outcome = Outcome.INVALID if echo.status == "invalid" else Outcome.FAILED
    return EventStatus(echo.status, outcome, echo.described)
