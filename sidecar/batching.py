"""Which events travel in one array POST.

EventGate names failures by echoing the event, and `verdict` finds it again by `meta.id`. So events travel
together only where every one has an id and no two the same. The others of a request (no `meta`, an id that is
no text, one id twice) travel in an array of their own, whose verdict is handed out in order; they are never
mixed with another caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from sidecar.event import Outgoing


def groups(events: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Split the events of one request for one upstream into arrays, each in the order of the request."""
    if len(events) == 1:
        return [list(events)]
    times = Counter(event.id for event in events)
    alone = [event for event in events if event.id is not None and times[event.id] == 1]
    shared = [msgspec.structs.replace(event, id=None) for event in events if event.id is None or times[event.id] > 1]
    return [group for group in (alone, shared) if group]


def array(events: Sequence[Outgoing]) -> bytes:
    """Return the body of one POST: a lone event as it is, so that the largest one still fits, else an array.

    To EventGate the two are the same, but for `{}`, which it would call an empty body; that has no id.
    """
    if len(events) == 1 and events[0].id is not None:
        return events[0].body
    return b"[" + b",".join(event.body for event in events) + b"]"
