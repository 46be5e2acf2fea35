"""The scenarios and their bars."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.netns import faults
from tests.netns.faults import Fault
from tests.netns.measure import Measured

SHORT, LONG = 4.0, 8.0
"""Seconds that a fault lasts; the longer one is longer than DNS answers are valid."""


@dataclass(frozen=True)
class Bars:
    """What must hold, besides these: nothing is lost, traffic comes back, and the sidecar stops when asked."""

    worst_ms: float | None = None
    """Slowest answer."""
    slow: int | None = None
    """Answers over 250 ms."""
    doubles: bool = False
    """Whether an event may arrive twice: the result of the first attempt may be unknown."""
    back_after: float = 15.0
    """Seconds until traffic is back at the preferred datacenter."""
    outage: Outage | None = None
    """None: every answer must be 2xx."""
    idled: float | None = None
    """Seconds of waiting for anything but a processor, from exec until connections are accepted."""


@dataclass(frozen=True)
class Outage:
    """How events may be refused while no datacenter can be reached."""

    answer_seconds: float = 2.0
    """Seconds within which each refusal comes, a 503 with Retry-After."""
    recovered_after: float = 3.0
    """Seconds after the end of the fault until nothing is refused any more."""


@dataclass(frozen=True)
class Scenario:
    """One experiment."""

    name: str
    title: str
    """Description of what happens."""
    fault: Fault
    bars: Bars
    setting: Fault = faults.nothing
    """What is set up before the sidecar starts."""
    hold: float = SHORT
    """Seconds until the fault ends."""
    heals: bool = True
    """If not, traffic must come back while the fault lasts."""
    at_start: bool = False
    """Whether the fault starts before the sidecar."""
    request_ids: bool = False
    """Whether each request has its own x-request-id, which EventGate writes into the event."""
    leaves: bool = True
    """Whether events must go to hosts other than eqiad's first; if none does, the fault had no effect."""
    home: frozenset[str] = field(default=frozenset({"eqiad"}))
    """Hosts of the preferred datacenter that should get the traffic in the end."""


HANG = Bars(worst_ms=150, doubles=True)
FAST = Bars(worst_ms=100)
FAST_AMBIGUOUS = Bars(worst_ms=100, doubles=True)
SURVIVED = Bars(doubles=True)

_silent, _late, _stale = faults.Relayed(), faults.Relayed(), faults.Relayed()
_late_setting, _late_fault = faults.late(_late)

SCENARIOS = (
    Scenario("blackholed", "packets are dropped, also on established connections", faults.blackholed, HANG),
    Scenario("frozen", "the process is stopped: it accepts connections and never answers", faults.frozen, HANG),
    Scenario(
        "frozen-request-ids",
        "the process is stopped, and each request has its own x-request-id",
        faults.frozen,
        HANG,
        request_ids=True,
    ),
    Scenario(
        "tls-frozen",
        "connections are cut; new ones are accepted, but TLS never starts",
        _silent.told("silent"),
        HANG,
        setting=_silent.setting,
    ),
    Scenario("late", "the network is 3 s slow", _late_fault, HANG, setting=_late_setting),
    Scenario("slow", "EventGate takes 3 s to answer", faults.slow, HANG),
    Scenario("refused", "connections are cut; new ones are refused", faults.refused, FAST_AMBIGUOUS),
    Scenario("reset", "connections are reset in the middle of an answer", faults.reset, SURVIVED),
    Scenario("unavailable", "every answer is 503", faults.unavailable, FAST),
    Scenario("kafka-down", "its Kafka is down: every event is an error, health checks pass", faults.kafka_down, FAST),
    Scenario("unrouted", "a proxy in front of it answers events with 404, health checks pass", faults.unrouted, FAST),
    Scenario("lossy", "30 % of packets are dropped, in both directions", faults.lossy, SURVIVED),
    Scenario("dripping", "answers arrive at one byte a second", faults.dripping, SURVIVED),
    Scenario(
        "stale",
        "idle connections are closed just as a request is written, five times a second",
        _stale.told("stale"),
        Bars(),
        setting=_stale.setting,
    ),
    Scenario("dns-silent", "DNS does not answer", faults.dns_silent, FAST, hold=LONG, leaves=False),
    Scenario("dns-stopped", "the DNS server's port is closed", faults.dns_stopped, FAST, hold=LONG, leaves=False),
    Scenario(
        "no-such-name",
        "DNS says that the name does not exist",
        faults.no_such_name,
        FAST,
        hold=LONG,
        leaves=False,
    ),
    Scenario(
        "no-such-names",
        "DNS says that neither name exists",
        faults.no_such_names,
        FAST,
        hold=LONG,
        leaves=False,
    ),
    Scenario(
        "no-data",
        "DNS has no address for either name",
        faults.names_without_address,
        FAST,
        hold=LONG,
        leaves=False,
    ),
    Scenario(
        "alias-without-address",
        "both names are CNAMEs of names without an address",
        faults.aliases_without_address,
        FAST,
        hold=LONG,
        leaves=False,
    ),
    Scenario(
        "moved",
        "the host dies permanently, and the CNAME moves to another",
        faults.moved,
        HANG,
        heals=False,
        home=frozenset({"eqiad2"}),
    ),
    Scenario(
        "one-of-two",
        "the name has two addresses, and packets to one of them are dropped",
        faults.blackholed,
        SURVIVED,
        setting=faults.two_addresses,
        home=frozenset({"eqiad", "eqiad2"}),
    ),
    Scenario(
        "forty-addresses",
        "the name has 40 addresses, two of them with a host, and packets to one of these are dropped",
        faults.blackholed,
        HANG,
        setting=faults.forty_addresses,
        home=frozenset({"eqiad", "eqiad2"}),
    ),
    Scenario(
        "dns-silent-at-start",
        "DNS does not answer when the sidecar starts",
        faults.dns_silent,
        Bars(outage=Outage(recovered_after=1.0), idled=0.3),
        at_start=True,
        leaves=False,
    ),
    Scenario(
        "all-gone",
        "packets to both datacenters are dropped",
        faults.all_gone,
        Bars(doubles=True, outage=Outage()),
        hold=LONG,
        leaves=False,
    ),
)


def misses(scenario: Scenario, measured: Measured) -> list[str]:
    """Return the bars that were not held, each with the measured value."""
    bars = scenario.bars
    found = [
        _over("answered 2xx and lost", measured.lost, 0),
        _over("arrived twice", measured.doubled, None if bars.doubles else 0),
        _over("slowest answer in ms", measured.worst_ms, bars.worst_ms),
        _over("answers over 250 ms", measured.slow, bars.slow),
        _over("seconds it waited before it listened", measured.idled, bars.idled),
    ]
    if measured.sent == 0:
        found.append("no event was sent")
    if scenario.leaves and not any(count for host, count in measured.hosts.items() if host != "eqiad"):
        found.append("no event went elsewhere, so the fault had no effect and the run proves nothing")
    if measured.back_after is None or measured.back_after > bars.back_after:
        after = "never" if measured.back_after is None else f"after {measured.back_after:.1f} s"
        found.append(f"back at the preferred datacenter {after}, not within {bars.back_after:g} s")
    if measured.exit_status != 0:
        found.append(f"after SIGTERM it exited with status {measured.exit_status}")
    words = ", ".join(f"{count} x {each}" for each, count in measured.failures.items())
    if bars.outage is None:
        found.append(_over(f"not 2xx ({words})", sum(measured.failures.values()), 0))
    else:
        outage = bars.outage
        found += [
            _over(f"not 2xx although a datacenter was up ({words})", measured.stray_failures, 0),
            _over(f"neither 2xx nor a 503 with Retry-After ({words})", measured.unhelpful_failures, 0),
            _over("seconds until the slowest refusal", measured.worst_failure, outage.answer_seconds),
            _over("seconds of refusals after the fault ended", measured.recovered_after, outage.recovered_after),
        ]
    return [each for each in found if each]


def _over(what: str, value: float, bar: float | None) -> str:
    if bar is None or value <= bar:
        return ""
    return f"{what}: {value:.4g}, not {bar:g}" if bar == 0 else f"{what}: {value:.4g}, not at most {bar:g}"
