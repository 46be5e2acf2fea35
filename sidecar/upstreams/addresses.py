"""What is known of a name, and which of its addresses are used.

DNS adds addresses; only evidence takes them away. The last good answer stays in use while DNS does not answer or has no
address (RFC 8767, serve-stale), and an address that answers stays until another has taken its place.
Pure: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidecar.upstreams.health import Health, Standing, is_dead

MIN_TTL = 5.0
MAX_TTL = 60.0
STALE_SECONDS = 3600.0
"""How long an address that does not answer is kept while DNS does not name it either."""
MAX_NAMED = 256
"""Addresses of an answer that are considered."""
MAX_ADDRESSES = 16
"""Addresses of a name that are in use at once, of those that DNS names; each is checked on its own."""
RETRY_DEAD_SECONDS = 10.0
"""How soon an address that failed may replace another one that fails."""
RETRY_SECONDS = 1.0
RETRY_WITHOUT_ADDRESS_SECONDS = 0.2
RETRY_SHARE = 0.05
"""DNS that keeps failing is asked after this share of the time for which it has failed, if that is longer."""
MAX_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """DNS, or a hosts file, has addresses for the name."""

    addresses: tuple[str, ...]
    chain: tuple[str, ...] = ()
    """The names on the way by CNAME, without the one asked for."""
    ttl: float = MAX_TTL
    """Seconds, the smallest in the chain."""
    left_out: tuple[str, ...] = ()
    """Addresses in the answer that nothing is sent to, see `resolver`."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """DNS gave no address: it is silent, fails, does not know the name, or has no address for it."""

    reason: str


DnsAnswer = Found | NoAnswer


@dataclass(frozen=True, slots=True)
class Known:
    """What DNS has said of a name."""

    name: str
    addresses: tuple[str, ...] = ()
    """Those of the last good answer, sorted."""
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
    """When the first of the look-ups ended that have failed in a row."""

    @property
    def stale(self) -> bool:
        """Whether the addresses are from an older answer, because a later look-up failed."""
        return bool(self.addresses and self.problem)

    def __str__(self) -> str:
        """Return the chain from the name to its addresses, as log and `probe` show it."""
        more = len(self.addresses) - MAX_ADDRESSES
        shown = (*self.addresses[:MAX_ADDRESSES], *((f"and {more} more",) if more > 0 else ()))
        way = " → ".join((self.name, *self.chain, ", ".join(shown) or "no address"))
        if self.problem:
            return f"{way} ({'stale: ' if self.stale else ''}{self.problem})"
        return f"{way} (left out: {', '.join(self.left_out)})" if self.left_out else way


@dataclass(frozen=True, slots=True)
class Left:
    """An address that is no longer in use."""

    standing: Standing
    at: float
    """When it was taken out of use."""


def learn(known: Known, answer: DnsAnswer, now: float) -> Known:
    """Return what is known after `answer`."""
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
    """Return the addresses to use: `MAX_ADDRESSES` that DNS names, and as many that it has named before, at most.

    Of very many, those that fail give way to those that were not tried yet, or longest ago.
    `left` has what was in use before. `spare`: whether another endpoint of the upstream answers.
    """
    outdated = now - known.learnt > STALE_SECONDS
    named = () if outdated else known.addresses
    unnamed = [ip for ip in in_use if ip not in named]
    replaced = any(in_use[ip].health is Health.HEALTHY for ip in named if ip in in_use)

    def stays(ip: str) -> bool:
        standing = in_use[ip]
        if replaced:  # one answer without it may be a name server's way to balance, two are a decision
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
