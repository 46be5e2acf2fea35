"""What is known of a name: its addresses, how they were found, and how long to believe them.

The last good answer stays in use while DNS does not answer (RFC 8767, serve-stale), and a single NXDOMAIN is not
believed (HAProxy's `hold nx`). Pure: `now` is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MIN_TTL = 5.0
MAX_TTL = 60.0
STALE_SECONDS = 3600.0
"""How long the last good answer is used while no new one comes."""
NXDOMAIN_TIMES = 2
MAX_ADDRESSES = 16
"""Of one name; every address is checked on its own."""
RETRY_SECONDS = 1.0
RETRY_WITHOUT_ADDRESS_SECONDS = 0.2


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
class NoSuchName:
    """DNS says that the name does not exist, or has no address."""

    reason: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """DNS gave no answer."""

    reason: str


DnsAnswer = Found | NoSuchName | NoAnswer


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a name at a time."""

    name: str
    addresses: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    learnt: float = float("-inf")
    """When the last good answer came."""
    ask_again: float = float("-inf")
    problem: str = "not looked up yet"
    """Why the last look-up failed; empty if it succeeded."""
    denials: int = 0
    """NXDOMAINs in a row."""
    left_out: tuple[str, ...] = ()
    """Addresses of the last good answer that are not used."""

    @property
    def stale(self) -> bool:
        """Whether the addresses are from an older answer, because a later look-up failed."""
        return bool(self.addresses and self.problem)

    def __str__(self) -> str:
        """Return the chain from the name to its addresses, as log and `probe` show it."""
        way = " → ".join((self.name, *self.chain, ", ".join(self.addresses) or "no address"))
        if self.problem:
            return f"{way} ({'stale: ' if self.stale else ''}{self.problem})"
        return f"{way} (left out: {', '.join(self.left_out)})" if self.left_out else way


def learn(known: Known, answer: DnsAnswer, now: float) -> Known:
    """Return what is known after `answer`."""
    match answer:
        case Found(addresses, chain, ttl, left_out):
            ask_again = now + min(max(ttl, MIN_TTL), MAX_TTL)
            ordered = sorted(addresses)
            used, too_many = tuple(ordered[:MAX_ADDRESSES]), len(ordered) - MAX_ADDRESSES
            more = (f"{too_many} of {len(ordered)}",) if too_many > 0 else ()
            return Known(known.name, used, chain, now, ask_again, "", 0, left_out + more)
        case NoSuchName(reason):
            denials = known.denials + 1
            believed = denials >= NXDOMAIN_TIMES
            known = replace(known, addresses=(), chain=()) if believed else known
            return replace(known, denials=denials, problem=reason, ask_again=now + RETRY_SECONDS)
        case NoAnswer(reason):
            if now - known.learnt > STALE_SECONDS:
                known = replace(known, addresses=(), chain=())
            wait = RETRY_SECONDS if known.addresses else RETRY_WITHOUT_ADDRESS_SECONDS
            return replace(known, problem=reason, ask_again=now + wait)
