"""The contents of the status page: order, text and shapes; `page.html.j2` has the markup.

The template gets values and functions, and escapes everything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sidecar.events.results import Outcome
from sidecar.routes.language.scalars import in_size_words
from sidecar.status.flow import NARROW, SYMBOLS, WIDE, flow_of
from sidecar.status.problems import age, level_of, problems_of, rate, sentence
from sidecar.status.value import AddressNow, EndpointNow, Level, Minute, MirrorNow, SpoolNow, Status, UpstreamNow

HOUR = 3600.0
MAX_STREAMS = 50
"""Rows of the table of streams; the busiest come first."""
LEAST = 120.0
"""Minimum seconds shown in a picture."""
_MARKS = {Level.WELL: "✓", Level.WARNING: "▲", Level.BAD: "✕"}


class Box(NamedTuple):
    """A rectangle in a picture, where a unit is a second; `words` is its tooltip."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    words: str


def values_of(status: Status) -> dict[str, Any]:
    """Return the template's values."""
    problems = problems_of(status)
    level = level_of(problems)
    highest = max((sum(each.outcomes.values()) for each in status.minutes), default=0) or 1
    begin = beginning(status)
    width = round(status.now - begin, 1)
    return {
        "status": status,
        "level": level,
        "mark": _MARKS[level],
        "sentence": sentence(status, problems),
        "labels": ", ".join(f"{name}={value}" for name, value in status.labels.items()) or "no labels",
        "problems": problems,
        "upstreams": sorted(status.upstreams, key=_concern),
        "broken_file_first": bool(problems) and problems[0].runbook == "EventGateSidecarConfigRefused",
        "flows": zip(("on-wide", "on-narrow"), flow_of(status, WIDE, NARROW), strict=True),
        "streams": status.streams[:MAX_STREAMS],
        "begin": begin,
        "width": width,
        "axis": _axis(width),
        "highest": highest,
        "bars": [box for minute in status.minutes for box in _bars(minute, begin, highest)],
    }


def policy(style: str, script: str) -> str:
    """Return the page's Content-Security-Policy, which allows only its own style and script."""
    return (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _concern(upstream: UpstreamNow) -> tuple[bool, bool]:
    """Sort upstreams with problems first, and those this pod does not use last."""
    return not upstream.used, all(each.usable for each in upstream.endpoints)


def beginning(status: Status) -> float:
    """Return when the pictures begin: an hour ago or at the start of the process, but at least some minutes ago."""
    return min(max(status.now - HOUR, status.started), status.now - LEAST)


def _axis(width: float) -> tuple[str, str]:
    """Return the axis labels at the beginning and the middle of a picture."""
    return ("an hour ago", "30 min") if width == HOUR else (f"{age(width)} ago", age(width / 2))


def time_line(address: AddressNow, endpoint: EndpointNow, upstream: UpstreamNow, begin: float, now: float) -> list[Box]:
    """Draw the time since `begin`: health above, one tick per minute of checks below, failovers across.

    Anything unhealthy is also taller, for readers who cannot distinguish red and green.
    """
    ends = [*(each.begin for each in address.spans), now][1:]
    thin = (now - begin) / HOUR
    boxes = []
    for each, end in zip(address.spans, ends, strict=True):
        words = f"{clock(each.begin)} {each.health}: {each.reason}"
        y, height = (5.0, 11.0) if each.health == "healthy" else (0.0, 16.0)
        boxes.append(_box(each.begin - begin, y, end - each.begin, height, each.health, words))
    for minute in endpoint.checks:
        kind, height = ("failed", 7.0) if minute.failed else ("passed", 3.0)
        words = f"{clock(minute.begin)} checks: {minute.passed} passed, {minute.failed} failed"
        boxes.append(_box(max(minute.begin - begin, 0) + 5, 18.0, 50.0, height, kind, words))
    for change in upstream.failovers:
        words = f"{clock(change.at)} {change.before} → {change.after}"
        boxes.append(_box(change.at - begin - 4 * thin, 0.0, 8 * thin, 25.0, "mark", words))
    return boxes


def changes(address: AddressNow, endpoint: EndpointNow) -> str:
    """Describe the time line in words."""
    words = "; ".join(f"{clock(each.begin)} {each.health}" for each in address.spans[-6:]) or "nothing known"
    return f"{endpoint.name} {address.ip}, the last hour (UTC): {words}"


def _bars(minute: Minute, begin: float, highest: int) -> list[Box]:
    """Draw the events of one minute, delivered ones at the bottom."""
    delivered, spooled = minute.outcomes.get(Outcome.DELIVERED, 0), minute.outcomes.get(Outcome.SPOOLED, 0)
    failed = sum(minute.outcomes.values()) - delivered - spooled
    words = f"{clock(minute.begin)} {counts(minute.outcomes) or 'no events'}"
    boxes, level = [], 100.0
    for kind, count in (("delivered", delivered), ("spooled", spooled), ("failed", failed)):
        height = 100.0 * count / highest
        level -= height
        boxes.append(_box(max(minute.begin - begin, 0) + 3, level, 54.0, height, kind, words))
    return boxes


def _box(x: float, y: float, width: float, height: float, kind: str, words: str) -> Box:
    return Box(kind, round(x, 1), round(y, 1), round(max(width, 1.0), 1), round(height, 1), words)


def parts(text: str) -> list[str]:
    """Split a name where a line break is best: before its parts."""
    return re.split(r"(?<=\w)(?=[./_][a-z]|:\d)", text)


def waiting(spool: SpoolNow) -> str:
    """Describe the waiting events of the spool, by upstream."""
    oldest = f", the oldest for {age(spool.oldest_seconds)}" if spool.events else ""
    by_upstream = ", ".join(f"{name}: {count}" for name, count in spool.upstreams.items())
    return f"{spool.events} events{oldest}{by_upstream and f' ({by_upstream})'}"


def counts(outcomes: Mapping[str, int]) -> str:
    """Format the number of events by outcome."""
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if count)


def copied(mirror: MirrorNow) -> str:
    """Write which copies go where, and what became of them."""
    name = f" as {mirror.stream}" if mirror.stream else ""
    return f"{mirror.percent} % copied to {mirror.to}{name}: {counts(mirror.copies) or 'none yet'}"


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return heading.lower().replace(" ", "-")


def symbol(health: str) -> str:
    """Return a symbol for readers who do not see colours."""
    return SYMBOLS.get(health, "✕")


def clock(time: float) -> str:
    """Format the time of day of a Unix time, in UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%H:%M:%S}"


def day(time: float) -> str:
    """Format the date of a Unix time, in UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"


def milliseconds(seconds: float | None) -> str:
    """Format a short duration."""
    ms = (seconds or 0.0) * 1000
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


FILTERS: dict[str, Callable[..., object]] = {
    each.__name__: each
    for each in (
        *(age, changes, clock, copied, counts, day, in_size_words, milliseconds, parts, rate, slug, symbol, time_line),
        waiting,
    )
}
"""The template's filters, by name."""
