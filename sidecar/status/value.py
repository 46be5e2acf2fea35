"""The current state as one value. Times are Unix times, including `now`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sidecar.events.results import Outcome
from sidecar.telemetry.counts import OTHER_STREAM
from sidecar.upstreams.addresses import Known
from sidecar.upstreams.health import OUT

NOT_YET = Known("").problem
"""The problem of a name before its first look-up."""
MAX_REASON = 160


class Level(enum.StrEnum):
    """The severity of the state."""

    WELL = "well"
    WARNING = "warning"
    """Something is wrong, but events still arrive."""
    BAD = "bad"
    """Events do not arrive, or may get lost."""


class Span(msgspec.Struct, frozen=True):
    """A time in which an address had one health; it ends when the next begins."""

    begin: float
    health: str
    reason: str


class AddressNow(msgspec.Struct, frozen=True, kw_only=True):
    """One address."""

    ip: str
    health: str
    reason: str
    since: float | None
    """When it got this health; None: it was never checked."""
    ejected_until: float | None
    checked: float | None
    """When its last health check ended."""
    check: str
    """Its result."""
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
    """Whether its checks pass and only an event can bring it back."""

    @property
    def why(self) -> str:
        """What is wrong with it now; `reason` is from the last change of its health, maybe hours ago."""
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
    """Its name, CNAMEs and addresses."""
    problem: str
    """Why the last look-up failed."""
    last_minute: int
    """Events of POSTs that it answered in the last minute."""
    addresses: tuple[AddressNow, ...]
    checks: tuple[ChecksOfMinute, ...]

    @property
    def host(self) -> str:
        """The host name, or an address."""
        return urlsplit(self.url).hostname or self.name

    @property
    def dns(self) -> str:
        """The DNS answer for its name."""
        return self.way.removeprefix(self.host).removeprefix(" → ")

    @property
    def looked_up(self) -> bool:
        """Whether its name is looked up in DNS, unlike an address, localhost or a name in the hosts file."""
        known = self.host in (self.dns, "localhost") or self.dns.startswith("the hosts file → ")
        return bool(self.problem) or not known

    @property
    def usable(self) -> bool:
        """Whether events may be sent there."""
        return any(each.health not in OUT for each in self.addresses)

    @property
    def awaits_trial(self) -> bool:
        """Whether it gets the next event as a trial if no endpoint is usable."""
        return any(each.awaits_trial for each in self.addresses)

    @property
    def since(self) -> float:
        """When the health of its addresses last changed; 0: it has none."""
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
    """Why the current CA file is not used; empty if it is."""

    @property
    def looked_at(self) -> list[EndpointNow]:
        """The endpoints that were looked up at least once."""
        return [each for each in self.endpoints if each.addresses or each.problem != NOT_YET]

    @property
    def out(self) -> bool:
        """Whether no endpoint can get events, not even as a trial."""
        may_get_events = any(each.usable or each.awaits_trial for each in self.endpoints)
        return len(self.looked_at) == len(self.endpoints) and not may_get_events

    @property
    def goes_to(self) -> str | None:
        """The endpoint that gets its events; None while it is out."""
        return None if self.out else self.first

    @property
    def title(self) -> str:
        """Its name and, if it has several endpoints, the one that gets its events."""
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
    """The new stream name, as in `routes.yaml`."""
    reject: str | None
    outcomes: Mapping[str, int]
    """Events that it took since the start."""
    mirror: MirrorNow | None = None
    """The copies made of them, if any."""


class StreamNow(msgspec.Struct, frozen=True):
    """The events of one stream since the start."""

    stream: str
    routes: tuple[str, ...]
    """Which took them."""
    outcomes: Mapping[str, int]

    @property
    def title(self) -> str:
        """What people call it."""
        return title_of(self.stream)


class FlowNow(msgspec.Struct, frozen=True):
    """The events of the last minute that came under one stream and were taken by one route."""

    stream: str
    route: str | None
    """None: no route took them."""
    outcomes: Mapping[str, int]


class HopNow(msgspec.Struct, frozen=True):
    """The hand-overs of the last minute, to a gateway and, in a gateway, from pods."""

    gateway: str
    """Host of the gateway; empty: there is none."""
    trouble: str
    """Why the last hand-over failed; empty if it did not."""
    handed_over: Mapping[str, int]
    """Events sent to it, by result."""
    taken_over: Mapping[str, Mapping[str, int]]
    """Events from pods, by their labels and by upstream."""


class SpoolNow(msgspec.Struct, frozen=True, kw_only=True):
    """The spool."""

    directory: str
    trouble: str
    events: int
    bytes: int
    """Of all events, including dead letters."""
    max_bytes: int
    percent: int
    """How much is in use, without dead letters that would be dropped first; 100 while it is full."""
    full: bool
    """Whether events that need it are refused because there is no room."""
    dead_letters: int
    oldest_seconds: float
    in_flight: int
    upstreams: Mapping[str, int]
    lasts_seconds: float | None
    """Time until it is full at the rate of the last minute; None if nothing went into it."""
    handed_over: Mapping[str, int]
    """Events sent to the gateway since the start, by result."""
    taken_over: Mapping[str, int]
    """Events that pods handed over to this gateway since the start, by their labels."""
    hop: HopNow


class Minute(msgspec.Struct, frozen=True):
    """The events of one minute, by outcome."""

    begin: float
    outcomes: Mapping[str, int]


class Failure(msgspec.Struct, frozen=True):
    """A failure, without event content."""

    at: float
    words: str
    times: int


class ProblemNow(msgspec.Struct, frozen=True):
    """A current problem."""

    level: Level
    words: str
    step: str
    """What to do next."""
    runbook: str
    """The heading of its section in docs/runbook.md."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state."""

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
    flows: tuple[FlowNow, ...]
    configuration: Mapping[str, Any]
    spool: SpoolNow | None
    minutes: tuple[Minute, ...]
    failures: tuple[Failure, ...]

    @property
    def happened(self) -> list[Outcome]:
        """The outcomes that occurred since the start."""
        return [outcome for outcome in Outcome if any(each.outcomes.get(outcome) for each in self.streams)]


def title_of(stream: str) -> str:
    """Return a stream's name for people."""
    return "other streams" if stream == OTHER_STREAM else stream


def short(text: str) -> str:
    """Shorten a text for use in a sentence."""
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"
