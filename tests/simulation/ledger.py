"""What really happened, as only the world knows it: who posted what, what came where, who was told what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["good", "invalid", "error", "poison", "dotted"]
"""What EventGate makes of an event. poison: whatever has it in it fails as a whole. dotted: a literal key "meta.stream"
says another stream than `meta` does."""

OTHER = "production.forbidden"
"""The stream that a dotted event says in its literal key."""


COPIES = "copies"
"""The upstream that gets nothing but copies, where a route has a mirror."""


@dataclass
class Event:
    """One event of a producer."""

    number: int
    stream: str
    kind: Kind
    key: str | None
    request: Request
    size: int = 0
    """Bytes of its text, where it has one."""
    arrivals: list[Arrival] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    """POSTs with it in them that reached a gate whole."""
    copies: list[Exchange] = field(default_factory=list)
    """The same, with a copy of it in them, to the upstream that gets nothing else."""

    def __str__(self) -> str:
        """Return what the story calls it."""
        return f"event {self.number}"


@dataclass
class Request:
    """One POST of a producer."""

    number: int
    events: list[Event]
    hasty: bool
    began: float
    life: int
    """Number of the sidecar's life that took it."""
    sent: float | None = None
    """When its last byte was sent."""
    ended: float | None = None
    end: str = "waits"
    """`answered`, `timeout`, `lost`, `refused` (nobody listened) or `left` (the producer went)."""
    status: int = 0
    reason: str = ""
    body: bytes = b""
    said: str = ""
    """The header x-eventgate-sidecar."""
    retry_after: str | None = None

    def __str__(self) -> str:
        """Return what the story calls it."""
        return f"request {self.number}"


@dataclass
class Exchange:
    """One POST to a gate, read in full there."""

    gate: str
    upstream: str
    life: int
    at: float
    mode: str
    events: list[Event]
    accepted: list[Event] = field(default_factory=list)
    came: float | None = None
    """When the whole of a true answer had come to the sidecar, which need not have read it; None: never."""
    read: float | None = None
    """When the sidecar had read it; None: never."""
    refused: bool = False
    """Whether it was refused as a whole, for sure: 413 and its like, or an answer that is not EventGate's."""
    streams: list[str] = field(default_factory=list)
    """The stream of each of its events, as EventGate reads it."""
    address: str = ""
    """Of the machine that read it."""
    replayed: set[int] = field(default_factory=set)
    """Numbers of those events whose producers wait yet, and that the spool had: it is no live attempt of them."""


@dataclass
class Arrival:
    """An event that a gate accepted: it is in Kafka."""

    gate: str
    upstream: str
    stream: str
    at: float
    exchange: Exchange
    raw: dict[str, Any]


@dataclass
class Ledger:
    """All of it."""

    events: dict[int, Event] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    beyond: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """What was held beyond its bound: when first, how much, and the bound."""
    garbled: list[tuple[float, str]] = field(default_factory=list)
    """When an EventGate got what is not as it was posted, and in words."""
    story: list[tuple[float, str, str]] = field(default_factory=list)
    """When, who, what."""
    disturbed: list[tuple[float, float, str, str]] = field(default_factory=list)
    """From when to when what was disturbed: a gate's name, `network`, `dns:NAME`, `disk`, `sidecar`; and how."""

    def tell(self, at: float, who: str, what: str) -> None:
        """Add a line to the story."""
        self.story.append((at, who, what))

    def quiet(self, what: str, begin: float, end: float) -> bool:
        """Whether nothing disturbed `what` in that time."""
        return not any(each == what and since < end and until > begin for since, until, each, _ in self.disturbed)
