"""A status in which all is well, to be changed by what a test is about."""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.status.value import (
    AddressNow,
    ChecksOfMinute,
    EndpointNow,
    FlowNow,
    HopNow,
    RouteNow,
    Span,
    SpoolNow,
    Status,
    StreamNow,
    UpstreamNow,
)

NOW = 1_800_000_000.0
HANGS = "connects, then silent for 1 s: hangs"
CONFIGURATION = {
    "file": "routes.yaml",
    "in_force": "routes.yaml",
    "digest": "0123456789ab",
    "since": NOW - 7200,
    "refused": None,
    "problems": [],
}


def address(health: str = "healthy", reason: str = "its health check passed", **more: Any) -> AddressNow:
    """Return an address that has been so for 12 minutes."""
    usual: dict[str, Any] = {
        "ip": "10.2.2.45",
        "since": NOW - 720,
        "ejected_until": None,
        "checked": NOW - 3,
        "check": "answers",
        "check_seconds": 0.012,
        "answered": NOW - 1,
        "post_seconds": 0.004,
        "slow_post_seconds": 0.031,
        "spans": (Span(NOW - 720, health, reason),),
        "awaits_trial": False,
    }
    return AddressNow(health=health, reason=reason, **(usual | more))


def endpoint(name: str, *addresses: AddressNow, problem: str = "") -> EndpointNow:
    """Return an endpoint."""
    host = f"staging.svc.{name}.wmnet"
    way, checks = f"{host} → 10.2.2.45", (ChecksOfMinute(NOW - 60, 11, 1),)
    return EndpointNow(
        name=name,
        url=f"https://{host}:4492/v1/events",
        way=way,
        problem=problem,
        last_minute=3140 if addresses else 0,
        addresses=addresses,
        checks=checks,
    )


def upstream(
    *endpoints: EndpointNow, first: str | None = "eqiad", used: bool = True, ca_problem: str = ""
) -> UpstreamNow:
    """Return an upstream called staging."""
    ends = endpoints or (endpoint("eqiad", address()), endpoint("codfw", address()))
    return UpstreamNow(name="staging", used=used, first=first, endpoints=ends, failovers=(), ca_problem=ca_problem)


def spool(**more: Any) -> SpoolNow:
    """Return a spool with nothing in it."""
    usual: dict[str, Any] = {
        "directory": "/spool",
        "trouble": "",
        "events": 0,
        "bytes": 0,
        "max_bytes": 256 * 1024 * 1024,
        "percent": 0,
        "full": False,
        "dead_letters": 0,
        "oldest_seconds": 0.0,
        "in_flight": 0,
        "upstreams": {},
        "lasts_seconds": None,
        "handed_over": {},
        "taken_over": {},
        "hop": HopNow("", "", {}, {}),
    }
    return SpoolNow(**(usual | more))


def status(**more: Any) -> Status:
    """Return a status."""
    well = Status(
        version="1.2.3",
        pod="enwiki-drafttopic-1",
        labels={"env": "staging"},
        now=NOW,
        started=NOW - 7200,
        events_per_second=52.4,
        last_minute={"delivered": 3144},
        upstreams=(upstream(),),
        routes=(RouteNow("all", "staging", None, None, {"delivered": 3140, "invalid": 4}),),
        streams=(StreamNow("mediawiki.a", ("all",), {"delivered": 3144}),),
        flows=(FlowNow("mediawiki.a", "all", {"delivered": 3144}),),
        configuration=CONFIGURATION,
        spool=spool(),
        minutes=(),
        failures=(),
    )
    return msgspec.structs.replace(well, **more)
