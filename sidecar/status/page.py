"""What the status page shows: in which order, in which words, and what is drawn; `page.html.j2` is how it looks.

Nothing here is markup. The template gets values and functions, and escapes whatever it writes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sidecar.events.results import Outcome
from sidecar.routes.scalars import in_size_words
from sidecar.status.problems import age, level_of, problems_of, rate, sentence
from sidecar.status.value import AddressNow, EndpointNow, Level, Minute, MirrorNow, SpoolNow, Status, UpstreamNow

HOUR = 3600.0
LEAST = 120.0
"""Seconds that a picture shows at least."""
_MARKS = {Level.WELL: "✓", Level.WARNING: "▲", Level.BAD: "✕"}
_SYMBOLS = {"healthy": "●", "suspected": "◐", "probation": "◐", "unknown": "○"}


class Box(NamedTuple):
    """A rectangle of a picture in which a second is a unit wide; `words` tell what it stands for."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    words: str


def values_of(status: Status) -> dict[str, Any]:
    """Return what the template writes."""
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
        "broken_file_first": bool(status.configuration["refused"]) and level is not Level.BAD,
        "begin": begin,
        "width": width,
        "axis": _axis(width),
        "highest": highest,
        "bars": [box for minute in status.minutes for box in _bars(minute, begin, highest)],
    }


def policy(style: str, script: str) -> str:
    """Return the page's Content-Security-Policy: its own style and script, and nothing else."""
    return (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _concern(upstream: UpstreamNow) -> tuple[bool, bool]:
    """Sort what needs a look first, and last what this pod does not need."""
    return not upstream.used, all(each.usable for each in upstream.endpoints)


def beginning(status: Status) -> float:
    """Return where the pictures begin: an hour ago, or where the process started, but some minutes at least."""
    return min(max(status.now - HOUR, status.started), status.now - LEAST)


def _axis(width: float) -> tuple[str, str]:
    """Return what is written below a picture, at its beginning and its middle."""
    return ("an hour ago", "30 min") if width == HOUR else (f"{age(width)} ago", age(width / 2))


def time_line(address: AddressNow, endpoint: EndpointNow, upstream: UpstreamNow, begin: float, now: float) -> list[Box]:
    """Draw the time since `begin`: health above, one tick per minute of checks below, failovers across.

    What is not healthy is taller, and a minute with a failed check too, for who does not tell red from green.
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
    """Return the time line in words."""
    words = "; ".join(f"{clock(each.begin)} {each.health}" for each in address.spans[-6:]) or "nothing known"
    return f"{endpoint.name} {address.ip}, the last hour (UTC): {words}"


def _bars(minute: Minute, begin: float, highest: int) -> list[Box]:
    """Draw the events of one minute, the delivered at the bottom."""
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
    """Split it where a name is best broken: before its parts."""
    return re.split(r"(?<=\w)(?=[./_][a-z]|:\d)", text)


def waiting(spool: SpoolNow) -> str:
    """Write what waits in the spool, and for whom."""
    oldest = f", the oldest for {age(spool.oldest_seconds)}" if spool.events else ""
    by_upstream = ", ".join(f"{name}: {count}" for name, count in spool.upstreams.items())
    return f"{spool.events} events{oldest}{by_upstream and f' ({by_upstream})'}"


def counts(outcomes: Mapping[str, int]) -> str:
    """Write how many events ended how."""
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if count)


def copied(mirror: MirrorNow) -> str:
    """Write which copies go where, and what became of them."""
    name = f" as {mirror.stream}" if mirror.stream else ""
    return f"{mirror.percent} % copied to {mirror.to}{name}: {counts(mirror.copies) or 'none yet'}"


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return heading.lower().replace(" ", "-")


def symbol(health: str) -> str:
    """Return a mark for those who do not see colours."""
    return _SYMBOLS.get(health, "✕")


def clock(time: float) -> str:
    """Write the time of day of a Unix time, in UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%H:%M:%S}"


def day(time: float) -> str:
    """Write the date of a Unix time, in UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"


def milliseconds(seconds: float | None) -> str:
    """Write a short time."""
    ms = (seconds or 0.0) * 1000
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


FILTERS: dict[str, Callable[..., object]] = {
    each.__name__: each
    for each in (
        *(age, changes, clock, copied, counts, day, in_size_words, milliseconds, parts, rate, slug, symbol, time_line),
        waiting,
    )
}
"""What the template calls, by name."""
