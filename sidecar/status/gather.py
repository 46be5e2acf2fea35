"""Collects the state of all parts into a `Status`; `value` defines it, `page` shows it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sidecar import __version__
from sidecar.events.results import Outcome
from sidecar.routes.explain import Tried
from sidecar.routes.language.config import Config
from sidecar.routes.routing import Router
from sidecar.status.value import (
    AddressNow,
    ChecksOfMinute,
    EndpointNow,
    FailoverNow,
    Failure,
    FlowNow,
    HopNow,
    Minute,
    MirrorNow,
    RouteNow,
    Span,
    SpoolNow,
    Status,
    StreamNow,
    UpstreamNow,
    short,
)
from sidecar.telemetry.counts import NO_ROUTE, Counts
from sidecar.telemetry.history import HOUR, MINUTE, FlowsPast, History
from sidecar.upstreams.endpoints import Address, Endpoint, Pool
from sidecar.upstreams.failover import order
from sidecar.upstreams.health import Health, Judge

if TYPE_CHECKING:
    from sidecar.spool.record import SpoolState


@dataclass(frozen=True)
class InForce:
    """The configuration in force, and what was built from it."""

    config: Config
    router: Router
    pools: Mapping[str, Pool]
    takes_hand_overs: bool = False

    @property
    def events_go_to(self) -> set[str]:
        """The upstreams that events may go to; pods that hand over to a gateway may have any labels."""
        return {each.to for each in self.config.routes if each.to} if self.takes_hand_overs else self.router.reachable


@dataclass(frozen=True)
class Sources:
    """Access to the state of other parts; `clock` is the one of health and history, `wall` the wall clock."""

    in_force: Callable[[], InForce]
    configuration: Callable[[], dict[str, Any]]
    """The state of its file."""
    spool: Callable[[], SpoolState | None]
    counts: Counts
    history: History
    pod: str = ""
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    started: float = field(default_factory=time.time)


def status_now(sources: Sources) -> Status:
    """Return the current state."""
    now, history = sources.in_force(), sources.history
    present = _Present(sources)
    router, spool = now.router, sources.spool()
    return Status(
        version=__version__,
        pod=sources.pod,
        labels=router.labels,
        now=present.wall,
        started=sources.started,
        events_per_second=round(history.events_per_second, 2),
        last_minute=dict(history.last_minute),
        upstreams=tuple(present.upstream(pool, now) for pool in now.pools.values()),
        routes=_routes(now.config, sources.counts),
        streams=_streams(sources.counts.flows),
        flows=_flows(present.recent.flows),
        configuration=sources.configuration(),
        spool=_spool(spool, history.last_minute[Outcome.SPOOLED], sources.counts, present.recent) if spool else None,
        minutes=tuple(Minute(present.at(each.begin), dict(each.events)) for each in present.minutes),
        failures=tuple(Failure(present.at(each.at), each.words, each.times) for each in reversed(history.failures)),
    )


def tried_now(pool: Pool, now: float) -> list[Tried]:
    """Return the addresses of an upstream: first those that would be tried, in order, then the others."""
    choices = order(pool.addresses, pool.config.failback, 0, now)
    places = {each.address: place for place, each in enumerate(choices, 1)}
    addresses = [
        Tried(
            endpoint=each.endpoint.name,
            address=each.ip,
            state=str(each.standing),
            place=places.get(each),
        )
        for each in pool.addresses
    ]
    return sorted(addresses, key=lambda each: each["place"] or len(addresses) + 1)


class _Present:
    """One moment on both clocks."""

    def __init__(self, sources: Sources) -> None:
        self._history = sources.history
        self._now = sources.clock()
        self.wall = sources.wall()
        self.recent = sources.history.flows_of_last_minute(sources.counts)
        self.minutes = [each for each in sources.history.minutes if each.begin > self._now - HOUR]

    def at(self, time_of_clock: float) -> float:
        """Convert a monotonic time to Unix time."""
        return round(self.wall - self._now + time_of_clock, 3)

    def upstream(self, pool: Pool, now: InForce) -> UpstreamNow:
        """Return the state of an upstream."""
        choices = order(pool.addresses, pool.config.failback, 0, self._now)
        failovers = [each for each in self._history.failovers if each.upstream == pool.name]
        return UpstreamNow(
            name=pool.name,
            used=pool.name in now.events_go_to | now.router.mirrored_to,
            only_copies=pool.name in now.router.mirrored_to - now.events_go_to,
            first=choices[0].address.endpoint.name if choices else None,
            endpoints=tuple(self._endpoint(pool.judge, each) for each in pool.endpoints),
            failovers=tuple(
                FailoverNow(self.at(each.at), each.before, each.after)
                for each in failovers
                if each.at > self._now - HOUR
            ),
            ca_problem=pool.trust.problem if pool.trust else "",
        )

    def _endpoint(self, judge: Judge, endpoint: Endpoint) -> EndpointNow:
        key = (endpoint.upstream, endpoint.name)
        return EndpointNow(
            name=endpoint.name,
            url=endpoint.url,
            way=str(endpoint.known),
            problem=endpoint.known.problem,
            last_minute=max(self.recent.arrived.get(key, 0), 0),
            addresses=tuple(self._address(judge, each) for each in endpoint.addresses.values()),
            checks=tuple(
                ChecksOfMinute(self.at(each.begin), each.checks[*key, True], each.checks[*key, False])
                for each in self.minutes
                if each.checks[*key, True] or each.checks[*key, False]
            ),
        )

    def _address(self, judge: Judge, address: Address) -> AddressNow:
        standing = address.standing
        at, result = address.checked or (None, None)
        ordered = standing.seconds_in_order
        return AddressNow(
            ip=address.ip,
            health=standing.health,
            reason=standing.reason,
            since=self.at(standing.since) if standing.health is not Health.UNKNOWN else None,
            ejected_until=self.at(standing.ejected_until) if standing.health is Health.EJECTED else None,
            checked=None if at is None else self.at(at),
            check=(result.words or "it passed") if result else "",
            check_seconds=sum(result.seconds.values()) if result and result.passed else None,
            answered=self.at(standing.last_answer) if math.isfinite(standing.last_answer) else None,
            post_seconds=ordered[len(ordered) // 2] if ordered else None,
            slow_post_seconds=ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] if ordered else None,
            spans=self._spans(address),
            awaits_trial=judge.awaits_trial(standing),
        )

    def _spans(self, address: Address) -> tuple[Span, ...]:
        """Return the health of an address over the last hour, as far as it is known."""
        begin = self._now - HOUR
        place = (address.endpoint.upstream, address.endpoint.name, address.ip)
        changes = self._history.health.get(place, ())
        older = [each for each in changes if each.at <= begin]
        spans = [Span(self.at(begin), older[-1].after, older[-1].reason)] if older else []
        spans += [Span(self.at(each.at), each.after, each.reason) for each in changes if each.at > begin]
        return tuple(spans)


def _routes(config: Config, known: Counts) -> tuple[RouteNow, ...]:
    counts = _nested(known.routed)
    copies = _nested({(route, result): count for (route, _, result), count in known.mirrored.items()})
    return tuple(
        RouteNow(
            each.name,
            each.to,
            str(each.stream) if each.stream else None,
            each.reject,
            counts.get(each.name, {}),
            MirrorNow(
                each.mirror.to,
                str(each.mirror.stream) if each.mirror.stream else None,
                each.mirror.percent,
                copies.get(each.name, {}),
            )
            if each.mirror
            else None,
        )
        for each in config.routes
    )


def _streams(flows: Mapping[tuple[str, str, str], int]) -> tuple[StreamNow, ...]:
    routes: dict[str, dict[str, None]] = {}
    counts: dict[str, Counter[str]] = {}
    for (stream, route, outcome), count in flows.items():
        if count:
            counts.setdefault(stream, Counter())[str(outcome)] += count
            routes.setdefault(stream, {}).update({route: None} if route != NO_ROUTE else {})
    busiest = sorted(counts, key=lambda stream: -counts[stream].total())
    return tuple(StreamNow(stream, tuple(routes[stream]), counts[stream]) for stream in busiest)


def _flows(flows: Mapping[tuple[str, str, str], int]) -> tuple[FlowNow, ...]:
    found: dict[tuple[str, str | None], dict[str, int]] = {}
    for (stream, route, outcome), count in flows.items():
        if count > 0:
            found.setdefault((stream, None if route == NO_ROUTE else route), {})[str(outcome)] = count
    return tuple(FlowNow(*ends, outcomes) for ends, outcomes in found.items())


def _nested(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Return the counts of each name by outcome or the like, without zeros."""
    found: dict[str, dict[str, int]] = {}
    for (name, outcome), count in counts.items():
        if count:
            found.setdefault(name, {})[str(outcome)] = count
    return found


def _spool(state: SpoolState, last_minute: int, counts: Counts, recent: FlowsPast) -> SpoolNow:
    """Return the state of the spool; `last_minute` is how many events were stored in it in the last minute."""
    totals = state.totals
    lasts = None
    if last_minute and totals.events and not state.full:
        per_event = max(totals.taken, totals.size / max(1, state.max_bytes)) / totals.events
        per_second = last_minute / min(max(state.oldest_seconds, 1.0), MINUTE)
        lasts = (1 - totals.taken) / (per_event * per_second)
    return SpoolNow(
        directory=state.directory,
        trouble=state.trouble,
        events=totals.events,
        bytes=totals.size + totals.dead_size,
        max_bytes=state.max_bytes,
        percent=100 if state.full else int(totals.taken * 100),
        full=state.full,
        dead_letters=totals.dead,
        oldest_seconds=state.oldest_seconds,
        in_flight=state.in_flight,
        upstreams=dict(totals.upstreams),
        lasts_seconds=lasts,
        handed_over={result: count for result, count in counts.handed_over.items() if count},
        taken_over={labels: sum(each.values()) for labels, each in _nested(counts.taken_over).items()},
        hop=HopNow(
            state.gateway,
            short(state.gateway_trouble),
            {result: count for result, count in recent.handed_over.items() if count},
            _nested(recent.taken_over),
        ),
    )
