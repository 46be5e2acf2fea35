"""What DNS said about a name, and which of its addresses to use.

DNS adds addresses; only evidence removes them. The last good answer stays in use while DNS fails or has no address (RFC
8767, serve-stale), and an address that answers stays until another replaces it.
Pure: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidecar.upstreams.health import Health, Standing, is_dead

MIN_TTL = 5.0
MAX_TTL = 60.0
STALE_SECONDS = 3600.0
"""How long an address that fails is kept when DNS does not list it either."""
MAX_NAMED = 256
"""Addresses of one answer that are considered."""
MAX_ADDRESSES = 16
"""Listed addresses of a name in use at once; each has its own health checks."""
RETRY_DEAD_SECONDS = 10.0
"""How soon an address that failed may replace another that fails."""
RETRY_SECONDS = 1.0
RETRY_WITHOUT_ADDRESS_SECONDS = 0.2
RETRY_SHARE = 0.05
"""The retry interval grows to this share of the time for which DNS has failed."""
MAX_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """DNS or the hosts file has addresses."""

    addresses: tuple[str, ...]
    chain: tuple[str, ...] = ()
    """The CNAMEs followed, without the name looked up."""
    ttl: float = MAX_TTL
    """Seconds; the smallest in the chain."""
    left_out: tuple[str, ...] = ()
    """Addresses in the answer that must not be used, see `resolver`."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """DNS gave no address: it timed out, failed, does not know the name, or has no address for it."""

    reason: str


DnsAnswer = Found | NoAnswer
SILENT_DNS = "no name server answered"
"""How the reason begins where DNS itself is down, and not the name wrong."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a name."""

    name: str
    addresses: tuple[str, ...] = ()
    """From the last good answer, sorted."""
    chain: tuple[str, ...] = ()
    learnt: float = float("-inf")
    """When the last good answer came."""
    ask_again: float = float("-inf")
    problem: str = "not looked up yet"
    """Why the last look-up failed; empty if it succeeded."""
    left_out: tuple[str, ...] = ()
    """Addresses of the last good answer that are not used."""
    previous: tuple[str, ...] = ()
    """The addresses of the good answer before the last."""
    failing_since: float | None = None
    """When the first look-up of the current failures ended."""

    @property
    def stale(self) -> bool:
        """Whether a look-up failed since the addresses were learnt."""
        return bool(self.addresses and self.problem)

    def __str__(self) -> str:
        """Show the chain from the name to its addresses, for log and `probe`."""
        more = len(self.addresses) - MAX_ADDRESSES
        shown = (*self.addresses[:MAX_ADDRESSES], *((f"and {more} more",) if more > 0 else ()))
        way = " → ".join((self.name, *self.chain, ", ".join(shown) or "no address"))
        if self.problem:
            return f"{way} ({'stale: ' if self.stale else ''}{self.problem})"
        return f"{way} (left out: {', '.join(self.left_out)})" if self.left_out else way


@dataclass(frozen=True, slots=True)
class Left:
    """An address that was in use before."""

    standing: Standing
    at: float
    """When it was removed."""


def learn(known: Known, answer: DnsAnswer, now: float) -> Known:
    """Update what is known with a DNS answer."""
    match answer:
        case Found(addresses, chain, ttl, left_out):
            ask_again = now + min(max(ttl, MIN_TTL), MAX_TTL)
            ordered = tuple(sorted(addresses))
            too_many = len(ordered) - MAX_NAMED
            more = (f"{too_many} of {len(ordered)}",) if too_many > 0 else ()
            return Known(known.name, ordered[:MAX_NAMED], chain, now, ask_again, "", left_out + more, known.addresses)
        case NoAnswer(reason):
            since = now if known.failing_since is None else known.failing_since
            least = RETRY_SECONDS if known.addresses else RETRY_WITHOUT_ADDRESS_SECONDS
            wait = min(max(least, RETRY_SHARE * (now - since)), MAX_RETRY_SECONDS)
            return replace(known, problem=reason, ask_again=now + wait, failing_since=since)


def choose(
    known: Known, in_use: Mapping[str, Standing], left: Mapping[str, Left], now: float, *, spare: bool
) -> tuple[str, ...]:
    """Return the addresses to use: at most `MAX_ADDRESSES` that DNS lists, and as many that it listed before.

    If it lists more, failing ones give way to those not tried yet, or longest ago. `left`: addresses in use before.
    `spare`: whether another endpoint of the upstream answers.
    """
    outdated = now - known.learnt > STALE_SECONDS
    named = () if outdated else known.addresses
    unnamed = [ip for ip in in_use if ip not in named]
    replaced = any(in_use[ip].health is Health.HEALTHY for ip in named if ip in in_use)

    def stays(ip: str) -> bool:
        standing = in_use[ip]
        if replaced:  # missing from one answer may be DNS load balancing; from two, it is gone
            return ip in known.previous and standing.health is Health.HEALTHY and not standing.failed_in_a_row
        return not (outdated and spare and is_dead(standing))

    def rank(ip: str) -> tuple[int, float]:
        if ip in in_use:
            return (3 if is_dead(in_use[ip]) else 0, 0.0)
        if ip not in left or not is_dead(left[ip].standing):
            return (1, 0.0)
        at = left[ip].at
        return (2 if now - at >= RETRY_DEAD_SECONDS else 4, at)

    old = sorted(filter(stays, unnamed), key=rank)
    return tuple(sorted([*sorted(named, key=rank)[:MAX_ADDRESSES], *old[:MAX_ADDRESSES]]))
