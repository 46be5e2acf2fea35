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
        close = ", new connection each" if self.close else ""
        return f"{'TLS, ' if self.tls else ''}{what}, {self.connections} at once{close}"


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


ONE, SIXTEEN, SOME, MANY = Case(1), Case(16), Case(64), Case(256)

SPOOLED_CASES = (ONE, SOME, MANY)
"""Those in which the sidecar is also measured with `acknowledge: spooled`."""
FULL = (
    *(Case(connections, tls=tls) for tls in (False, True) for connections in (1, 16, 64, 256)),
    *(Case(connections, kilobytes=10) for connections in (1, 16, 64, 256)),
    *(Case(connections, array=32) for connections in (1, 16, 64)),
    Case(64, close=True),
)
QUICK = (
    *(ONE, SOME, MANY),
    *(Case(64, tls=True), Case(64, kilobytes=10), Case(16, array=32), Case(64, close=True)),
)
CHECKED = (SOME, MANY)

BARS = (
    Bar("events/s, 64 at once, sidecar ÷ direct", SOME, "events_per_s", DIRECT, 1.8),
    Bar("events/s, 256 at once, sidecar ÷ direct", MANY, "events_per_s", DIRECT, 2.5),
    Bar("events/s, 256 at once, sidecar ÷ Envoy", MANY, "events_per_s", ENVOY, 3.0),
    Bar("p50, one at a time, sidecar ÷ Envoy", ONE, "p50_ms", ENVOY, 1.0, at_least=False),
    Bar("RSS after 256 at once, sidecar ÷ Envoy", MANY, "rss_mib", ENVOY, 0.75, at_least=False),
    Bar("from exec to ready", MANY, "ready_s", None, 0.6, at_least=False, unit=" s"),
)


def ways_of(case: Case, ways: Sequence[str]) -> list[str]:
    """Return those of `ways` that are measured in this case."""
    return [way for way in ways if way != SPOOLED or case in SPOOLED_CASES]
