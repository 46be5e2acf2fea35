"""What really happened: each POST, each arrival, each answer. Only the world knows all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["good", "invalid", "error", "poison", "dotted"]
"""What EventGate makes of an event. poison: whatever has it in it fails as a whole. dotted: a literal key "meta.stream"
says another stream than `meta` does."""

OTHER = "production.forbidden"
"""The stream in the literal key of a dotted event."""


COPIES = "copies"
"""The upstream that gets only copies, if a route has a mirror."""


@dataclass
class Event:
    """One event of a producer."""

    number: int
    stream: str
    kind: Kind
    key: str | None
    request: Request
    size: int = 0
    """Length of its text in bytes, if it has one."""
    arrivals: list[Arrival] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    """POSTs with it that a gate received completely."""
    copies: list[Exchange] = field(default_factory=list)
    """The same for copies of it."""

    def __str__(self) -> str:
        """Return its name in the story."""
        return f"event {self.number}"


@dataclass
class Request:
    """One POST of a producer."""

    number: int
    events: list[Event]
    hasty: bool
    began: float
    life: int
    """Number of the sidecar's life that received it."""
    sent: float | None = None
    """When its last byte was sent."""
    ended: float | None = None
    end: str = "waits"
    """`answered`, `timeout`, `lost`, `refused` (nothing listened) or `left` (the producer left)."""
    status: int = 0
    reason: str = ""
    body: bytes = b""
    said: str = ""
    """The header x-eventgate-sidecar."""
    retry_after: str | None = None

    def __str__(self) -> str:
        """Return its name in the story."""
        return f"request {self.number}"


@dataclass
class Exchange:
    """One POST that a gate has received completely."""

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
    """Whether it was certainly refused as a whole: by a status such as 413, or an answer that is not EventGate's."""
    streams: list[str] = field(default_factory=list)
    """The stream of each of its events, as EventGate reads it."""
    address: str = ""
    """Name of the machine that received it."""
    replayed: set[int] = field(default_factory=set)
    """Numbers of the events that the spool has while their producers still wait: this is no live attempt."""


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
    """All records."""

    events: dict[int, Event] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    beyond: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """What was held beyond its bound: when first, how much, and the bound."""
    garbled: list[tuple[float, str]] = field(default_factory=list)
    """When an EventGate got what is not as it was posted, and in words."""
    story: list[tuple[float, str, str]] = field(default_factory=list)
    """Lines of the story: when, who, what."""
    disturbed: list[tuple[float, float, str, str]] = field(default_factory=list)
    """Disturbances with begin, end and kind: of a gate's name, `network`, `dns:NAME`, `disk` or `sidecar`."""

    def tell(self, at: float, who: str, what: str) -> None:
        """Add a line to the story."""
        self.story.append((at, who, what))

    def quiet(self, what: str, begin: float, end: float) -> bool:
        """Whether `what` was undisturbed in that time."""
        return not any(each == what and since < end and until > begin for since, until, each, _ in self.disturbed)
