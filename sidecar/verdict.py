"""What EventGate's answer says of each event.

EventGate echoes failures only, with defaults filled in and numbers as JavaScript writes them, in the order
of the request within each kind (lib/eventgate.js). So an event is found again by its `meta.id` and by nothing
else, and whatever cannot be found again counts as an error, never as a success.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sidecar.event import Outgoing
from sidecar.results import SUCCESS, EventStatus, Outcome, Status, failed


@dataclass(frozen=True, slots=True)
class _Echo:
    """One failure in EventGate's answer."""

    status: Status
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


_decode_failures = msgspec.json.Decoder(_Failures).decode
_decode_echo = msgspec.json.Decoder(_EchoStatus).decode
_ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)", re.DOTALL)
_UNMATCHED = "EventGate's answer does not say what became of this event"


def read(status: int, body: bytes, events: Sequence[Outgoing]) -> list[EventStatus] | None:
    """Return the status of each event, in their order; None where the answer holds no verdict.

    201 and 202 are verdicts, and so are 207, 400 and 500 whose JSON carries `invalid` or `error`.
    """
    if status in (201, 202):
        return [SUCCESS] * len(events)
    if status not in (207, 400, 500):
        return None
    echoes = _echoes(body)
    if echoes is None:
        return None
    if any(event.id is None for event in events):
        return _in_order(status, echoes, events)
    return _by_id(status, echoes, events)


def _echoes(body: bytes) -> list[_Echo] | None:
    try:
        failures = _decode_failures(body)
    except (ValueError, RecursionError):
        mended = _without_lone_surrogates(body)
        return _echoes(mended) if mended != body else None
    if failures.invalid is msgspec.UNSET and failures.error is msgspec.UNSET:
        return None
    invalid = failures.invalid if failures.invalid is not msgspec.UNSET else []
    error = failures.error if failures.error is not msgspec.UNSET else []
    return [_echo("invalid", raw) for raw in invalid] + [_echo("error", raw) for raw in error]


def _without_lone_surrogates(body: bytes) -> bytes:
    r"""Write U+FFFD for each lone surrogate: EventGate takes and echoes them (`"\ud800"`), msgspec does not."""
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], body)


def _echo(status: Status, raw: msgspec.Raw) -> _Echo:
    try:
        echo = _decode_echo(raw)
    except (ValueError, RecursionError):
        return _Echo(status, None, bytes(raw))
    meta = echo.event.meta if echo.event else None
    return _Echo(status, meta.id if meta else None, bytes(raw))


def _by_id(status: int, echoes: list[_Echo], events: Sequence[Outgoing]) -> list[EventStatus]:
    echoed = {echo.id: echo for echo in echoes}
    strangers = len(echoes) - len(echoed) + len(echoed.keys() - {event.id for event in events})
    statuses: list[EventStatus] = []
    for event in events:
        echo = echoed.get(event.id)
        if echo is not None:
            statuses.append(_failure(echo))
        elif status == 207 and echoes and not strangers:
            statuses.append(SUCCESS)
        else:
            statuses.append(failed(event.body, _UNMATCHED, unreachable=False))
    return statuses


def _in_order(status: int, echoes: list[_Echo], events: Sequence[Outgoing]) -> list[EventStatus]:
    """Hand the failures out in order: these events share one caller, who gets every one of them either way."""
    statuses = [_failure(echo) for echo in echoes[: len(events)]]
    for event in events[len(echoes) :]:
        if status == 207 and echoes:
            statuses.append(SUCCESS)
        else:
            statuses.append(failed(event.body, _UNMATCHED, unreachable=False))
    return statuses


def _failure(echo: _Echo) -> EventStatus:
    outcome = Outcome.INVALID if echo.status == "invalid" else Outcome.FAILED
    return EventStatus(echo.status, outcome, echo.described)
