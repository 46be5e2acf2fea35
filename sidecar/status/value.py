"""What is true now, as one value. Times are Unix times; `now` is among the values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sidecar.events.results import Outcome
from sidecar.upstreams.addresses import Known
from sidecar.upstreams.health import OUT

NOT_YET = Known("").problem
"""What is said of a name before its first look-up."""
MAX_REASON = 160


class Level(enum.StrEnum):
    """How bad it is."""

    WELL = "well"
    WARNING = "warning"
    """Something is wrong, and events still arrive."""
    BAD = "bad"
    """Events do not arrive, or may get lost."""


class Span(msgspec.Struct, frozen=True):
    """A time in which an address had one health; it ends where the next begins."""

    begin: float
    health: str
    reason: str


class AddressNow(msgspec.Struct, frozen=True, kw_only=True):
    """One address."""

    ip: str
    health: str
    reason: str
    since: float | None
    """When it got this health; None: it was never asked."""
    ejected_until: float | None
    checked: float | None
    """When its last health check ended."""
    check: str
    """What that found."""
    check_seconds: float | None
    answered: float | None
    """When it last answered a POST; while it does, no health check is needed."""
    post_seconds: float | None
    """The median of its last POSTs."""
    slow_post_seconds: float | None
    """Their 95th percentile."""
    spans: tuple[Span, ...]
    """Of the last hour."""
    awaits_trial: bool
    """Whether its checks pass, and only an event can bring it back."""

    @property
    def why(self) -> str:
        """What is wrong with it now; `reason` is what was when it got its health, maybe hours ago."""
        failed = self.health == "unhealthy" and self.checked is not None and self.check_seconds is None
        return self.check if failed else self.reason


class ChecksOfMinute(msgspec.Struct, frozen=True):
    """The health checks of an endpoint in one minute."""

    begin: float
    passed: int
    failed: int


class EndpointNow(msgspec.Struct, frozen=True, kw_only=True):
    """One datacenter of an upstream."""

    name: str
    url: str
    way: str
    """From the name over its CNAMEs to its addresses."""
    problem: str
    """Why the last look-up brought nothing."""
    addresses: tuple[AddressNow, ...]
    checks: tuple[ChecksOfMinute, ...]

    @property
    def host(self) -> str:
        """The name that is looked up, or an address."""
        return urlsplit(self.url).hostname or self.name

    @property
    def dns(self) -> str:
        """What DNS says of its name."""
        return self.way.removeprefix(self.host).removeprefix(" → ")

    @property
    def looked_up(self) -> bool:
        """Whether DNS is asked for its name, which it is not for an address, localhost and names of the hosts file."""
        known = self.host in (self.dns, "localhost") or self.dns.startswith("the hosts file → ")
        return bool(self.problem) or not known

    @property
    def usable(self) -> bool:
        """Whether events may be sent there."""
        return any(each.health not in OUT for each in self.addresses)

    @property
    def awaits_trial(self) -> bool:
        """Whether the next event is a trial there, should no other endpoint be usable."""
        return any(each.awaits_trial for each in self.addresses)

    @property
    def since(self) -> float:
        """When the last of its addresses got its health; 0: it has none."""
        return max((each.since or 0.0 for each in self.addresses), default=0.0)

    @property
    def why(self) -> str:
        """Why events are not sent there."""
        reasons = dict.fromkeys(each.why for each in self.addresses if each.health in OUT)
        return short(", ".join(reasons)) if reasons else short(self.problem or "it has no address")


class FailoverNow(msgspec.Struct, frozen=True):
    """A failover of the last hour."""

    at: float
    before: str
    after: str


class UpstreamNow(msgspec.Struct, frozen=True, kw_only=True):
    """One EventGate service."""

    name: str
    used: bool
    """Whether a route, or copies of one, lead there from this pod."""
    only_copies: bool = False
    """Whether nothing but copies does."""
    first: str | None
    """The endpoint that gets events first."""
    endpoints: tuple[EndpointNow, ...]
    failovers: tuple[FailoverNow, ...]
    ca_problem: str
    """Why its CA file is not used as it is on disk now; empty where it is."""

    @property
    def looked_at(self) -> list[EndpointNow]:
        """The endpoints that were looked up once at least."""
        return [each for each in self.endpoints if each.addresses or each.problem != NOT_YET]

    @property
    def out(self) -> bool:
        """Whether events can be sent to none of its endpoints, not even as a trial."""
        may_get_events = any(each.usable or each.awaits_trial for each in self.endpoints)
        return len(self.looked_at) == len(self.endpoints) and not may_get_events

    @property
    def goes_to(self) -> str | None:
        """Where its events go: nowhere while it is out, whichever endpoint gets the next trial."""
        return None if self.out else self.first

    @property
    def title(self) -> str:
        """Its name, and which of its endpoints gets its events; of a single one that goes without saying."""
        if self.out:
            return f"{self.name} → nowhere"
        return self.name if len(self.endpoints) == 1 else f"{self.name} → {self.first}"


class MirrorNow(msgspec.Struct, frozen=True):
    """The mirror of a route."""

    to: str
    stream: str | None
    """The new name of its copies, as `routes.yaml` writes it."""
    percent: int
    copies: Mapping[str, int]
    """Those made since the start, by result: sent, failed, full, refused, stopped."""


class RouteNow(msgspec.Struct, frozen=True):
    """One route."""

    name: str
    to: str | None
    stream: str | None
    """The new name of its streams, as `routes.yaml` writes it."""
    reject: str | None
    outcomes: Mapping[str, int]
    """Events that it took since the start."""
    mirror: MirrorNow | None = None
    """What is copied of them; None: nothing."""


class StreamNow(msgspec.Struct, frozen=True):
    """The events of one stream since the start."""

    stream: str
    routes: tuple[str, ...]
    """Which took them, as far as that is remembered."""
    outcomes: Mapping[str, int]

    @property
    def title(self) -> str:
        """What people call it."""
        return "other streams" if self.stream == "_other" else self.stream


class SpoolNow(msgspec.Struct, frozen=True, kw_only=True):
    """The spool."""

    directory: str
    trouble: str
    events: int
    bytes: int
    """Of all events, dead letters too."""
    max_bytes: int
    percent: int
    """How much of it no event can get; 100 while it is full."""
    full: bool
    """Whether events that need it are refused for want of room."""
    dead_letters: int
    oldest_seconds: float
    in_flight: int
    upstreams: Mapping[str, int]
    lasts_seconds: float | None
    """Until it is full at the rate of the last minute; None while nothing goes into it."""


class Minute(msgspec.Struct, frozen=True):
    """The events of one minute, by outcome."""

    begin: float
    outcomes: Mapping[str, int]


class Failure(msgspec.Struct, frozen=True):
    """Something that went wrong, without any event's content."""

    at: float
    words: str
    times: int


class ProblemNow(msgspec.Struct, frozen=True):
    """Something that is wrong now."""

    level: Level
    words: str
    step: str
    """What to do next."""
    runbook: str
    """The heading of its section in docs/runbook.md."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    version: str
    pod: str
    """Its host name, which in Kubernetes is the pod's."""
    labels: Mapping[str, str]
    now: float
    started: float
    events_per_second: float
    last_minute: Mapping[str, int]
    """Events of the last minute, by outcome."""
    upstreams: tuple[UpstreamNow, ...]
    routes: tuple[RouteNow, ...]
    streams: tuple[StreamNow, ...]
    configuration: Mapping[str, Any]
    spool: SpoolNow | None
    minutes: tuple[Minute, ...]
    failures: tuple[Failure, ...]

    @property
    def happened(self) -> list[Outcome]:
        """The outcomes that any event had since the start."""
        return [outcome for outcome in Outcome if any(each.outcomes.get(outcome) for each in self.streams)]


def short(text: str) -> str:
    """Return the text as a sentence has room for it."""
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"
