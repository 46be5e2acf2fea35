"""What is measured, in which ways, and the bars: ratios within one run, but for the time to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DIRECT, SIDECAR, SPOOLED, ENVOY, NGINX, HAPROXY = "direct", "sidecar", "spooled", "envoy", "nginx", "haproxy"
WAYS = (DIRECT, SIDECAR, SPOOLED, ENVOY, NGINX, HAPROXY)
LONG_NAMES = {SPOOLED: "sidecar, spooled", ENVOY: "Envoy", NGINX: "nginx + Lua", HAPROXY: "HAProxy"}
CHECKED_WAYS = (DIRECT, SIDECAR, ENVOY)


@dataclass(frozen=True)
class Case:
    """A kind of load."""

    connections: int
    kilobytes: int = 1
    array: int = 1
    """How many events each POST carries."""
    tls: bool = False
    """Between the way and the upstream; the client speaks plain HTTP to every proxy."""
    close: bool = False
    """A new connection for each POST, as Lift Wing's model servers make them."""
    realistic: bool = False
    """As a client writes it: a user agent, an `x-request-id` of its own in each POST, bodies of changing lengths."""
    routes: int = 2
    streams: int = 1
    ordered: bool = False
    """Whether the route has `order_by`; each event has a key of its own."""
    idle: int = 0
    """Connections that are open beside, and send nothing."""

    @property
    def turns(self) -> int:
        """How often it is measured in each repetition.

        One at a time, it depends on which cores the scheduler puts client, way and upstream how long a POST takes, and
        that differs more from run to run than the ways do.
        """
        return 5 if self == Case(1) else 1

    @property
    def name(self) -> str:
        """Name the case, as tables and results.json do."""
        what = f"{self.kilobytes} kB" if self.array == 1 else f"{self.array} × {self.kilobytes} kB"
        more = {
            ", new connection each": self.close,
            ", realistic headers": self.realistic,
            f", {self.routes:,} routes": self.routes != Case(1).routes,
            f", {self.streams:,} streams": self.streams != 1,
            ", order_by": self.ordered,
            f", {self.idle:,} idle connections": self.idle,
        }
        said = "".join(words for words, holds in more.items() if holds)
        return f"{'TLS, ' if self.tls else ''}{what}, {self.connections} at once{said}"


@dataclass(frozen=True)
class Bar:
    """What has to hold; `over` is the way that the sidecar is divided by."""

    what: str
    case: Case
    figure: str
    over: str | None
    limit: float
    at_least: bool = True
    unit: str = " ×"
    way: str = SIDECAR


ONE, SIXTEEN, SOME, MANY = Case(1), Case(16), Case(64), Case(256)

REAL_SOME, REAL_MANY = Case(64, realistic=True), Case(256, realistic=True)
ARRAYS = Case(16, array=32)
ORDERED = Case(64, ordered=True)

SPOOLED_CASES = (ONE, SOME, MANY, ORDERED)
"""Those in which the sidecar is also measured with `acknowledge: spooled`."""
OF_THE_SIDECAR = (Case(64, routes=1000), Case(64, streams=5000), Case(64, idle=1900))
"""Those that no other way knows, or that would say nothing of it."""
FULL = (
    *(Case(connections, tls=tls) for tls in (False, True) for connections in (1, 16, 64, 256)),
    *(Case(connections, kilobytes=10) for connections in (1, 16, 64, 256)),
    *(Case(connections, array=32) for connections in (1, 16, 64)),
    Case(64, close=True),
    *(REAL_SOME, REAL_MANY),
    *(*OF_THE_SIDECAR, ORDERED),
)
QUICK = (
    *(ONE, SOME, MANY),
    *(Case(64, tls=True), Case(64, kilobytes=10), ARRAYS, Case(64, close=True)),
    *(REAL_SOME, REAL_MANY),
)
CHECKED = (SOME, MANY)

BARS = (
    Bar("events/s, 64 at once, sidecar ÷ direct", SOME, "events_per_s", DIRECT, 4.5),
    Bar("events/s, 256 at once, sidecar ÷ direct", MANY, "events_per_s", DIRECT, 5.5),
    Bar("events/s, 64 at once, realistic headers, sidecar ÷ direct", REAL_SOME, "events_per_s", DIRECT, 3.2),
    Bar("events/s, 256 at once, realistic headers, sidecar ÷ direct", REAL_MANY, "events_per_s", DIRECT, 4.6),
    Bar("events/s, 256 at once, sidecar ÷ Envoy", MANY, "events_per_s", ENVOY, 5.5),
    Bar("events/s, arrays of 32, sidecar ÷ direct", ARRAYS, "events_per_s", DIRECT, 0.97),
    Bar("events/s, 64 at once, sidecar, spooled ÷ direct", SOME, "events_per_s", DIRECT, 1.5, way=SPOOLED),
    Bar("events/s, 256 at once, sidecar, spooled ÷ direct", MANY, "events_per_s", DIRECT, 2.0, way=SPOOLED),
    Bar("CPU per event, 256 at once, sidecar ÷ nginx + Lua", MANY, "cpu_us", NGINX, 1.0, at_least=False),
    Bar("p50, one at a time, sidecar ÷ Envoy", ONE, "p50_ms", ENVOY, 0.95, at_least=False),
    Bar("RSS after 256 at once, sidecar ÷ Envoy", MANY, "rss_mib", ENVOY, 0.6, at_least=False),
    Bar("from exec to ready", MANY, "ready_s", None, 0.3, at_least=False, unit=" s"),
)


def ways_of(case: Case, ways: Sequence[str]) -> list[str]:
    """Return those of `ways` that are measured in this case."""
    own = {SIDECAR} if case in OF_THE_SIDECAR else {SPOOLED} if case.ordered else set(WAYS)
    return [way for way in ways if way in own and (way != SPOOLED or case in SPOOLED_CASES)]
