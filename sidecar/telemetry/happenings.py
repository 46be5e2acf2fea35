"""Everything that happens inside, as typed values; `metrics` counts them, and `telemetry` writes them to the log.

A happening carries streams, names and reasons, never the content of an event. Each says how loud it is.
"""

from __future__ import annotations

from logging import DEBUG, ERROR, INFO, NOTSET, WARNING
from typing import ClassVar

import msgspec

from sidecar.telemetry.log import short

MAX_TEXT = 8192
"""Characters of problems in one line of the log; `check` shows the rest."""
MINUTE = 60.0


class Happening(msgspec.Struct, frozen=True):
    """What every happening says of its line in the log."""

    sampled_by: ClassVar[tuple[str, ...] | None] = None
    """Fields whose values make a kind, of which one line is written in a while; None: each has its line."""
    sampled_every: ClassVar[float] = 1.0
    """Seconds between two lines of a kind, at least."""

    @property
    def level(self) -> int:
        """The line's level; none is written for NOTSET, and for DEBUG only the observer is told."""
        return NOTSET

    @property
    def words(self) -> str:
        """What the line says."""
        fields = msgspec.structs.asdict(self)
        return " ".join(f"{name}={short(value)}" for name, value in fields.items() if value != "")


# --- the process ---


class Listening(Happening, frozen=True):
    """Both listeners accept connections."""

    level = INFO
    intake: str
    admin: str


class Stopping(Happening, frozen=True):
    """A signal asked to stop; requests are still taken for `seconds` at most."""

    level = INFO
    signal: str
    seconds: float


class Stopped(Happening, frozen=True):
    """Nothing is taken any more."""

    level = INFO
    unanswered: int


class Unexpected(Happening, frozen=True):
    """A bug of ours, caught at the edge."""

    level = ERROR
    where: str
    error: str


# --- the configuration ---


class ConfigLoaded(Happening, frozen=True):
    """A configuration is in force."""

    level = INFO
    file: str
    routes: int
    upstreams: int
    labels: str
    digest: str = ""
    """The first digits of the SHA-256 of its text."""


class ConfigRefused(Happening, frozen=True):
    """A file cannot be used; what was in force before still is."""

    level = ERROR
    file: str
    problems: int
    text: str
    """Every problem as `check` shows it."""

    @property
    def words(self) -> str:
        """The file and its problems, as much of them as fits in a line of the log."""
        text = self.text if len(self.text) <= MAX_TEXT else f"{self.text[:MAX_TEXT]}… (`check` shows the rest)"
        return f"{self.file}\n{text}"


class ConfigNotKept(Happening, frozen=True):
    """The last good configuration could not be written down; a restart may miss it."""

    level = WARNING
    file: str
    reason: str


# --- requests, and what became of their events ---


class RequestAnswered(Happening, frozen=True):
    """A producer got its answer."""

    status: int
    seconds: float


class RequestRefused(Happening, frozen=True):
    """A request could not be taken as a whole."""

    level = WARNING
    sampled_by = ("status", "title")
    status: int
    title: str
    detail: str


class EventsEnded(Happening, frozen=True):
    """Events of one stream ended with one outcome."""

    sampled_by = ("stream", "outcome")
    stream: str
    outcome: str
    count: int
    reason: str = ""
    """Why, where the outcome is no success."""
    route: str = ""
    """Which took them; empty where none did."""

    @property
    def level(self) -> int:
        """Success is silent."""
        return WARNING if self.reason else NOTSET


# --- POSTs and the health of endpoints ---


class PostAnswered(Happening, frozen=True):
    """An endpoint gave its verdict on a POST."""

    upstream: str
    endpoint: str
    events: int
    seconds: float


class PostFailed(Happening, frozen=True):
    """An attempt at an endpoint brought no verdict."""

    level = WARNING
    sampled_by = ("upstream", "endpoint", "failure")
    upstream: str
    endpoint: str
    failure: str
    reason: str
    seconds: float


class Resent(Happening, frozen=True):
    """Events went out a second time although the first attempt may have been taken: possible duplicates."""

    upstream: str
    endpoint: str
    """Where the first attempt went."""
    events: int


class AddressesChanged(Happening, frozen=True):
    """What is known of an endpoint's name changed; both as name → CNAMEs → addresses."""

    upstream: str
    endpoint: str
    before: str
    after: str
    problem: str = ""
    """Why the look-up brought no address."""

    @property
    def level(self) -> int:
        """A name without an answer is a warning, though its last known addresses stay in use."""
        return WARNING if self.problem else INFO


class CaFileChanged(Happening, frozen=True):
    """The CA file of an upstream is another on disk, and was read again."""

    ca_file: str
    problem: str = ""
    """Why it cannot be used: the previous certificates stay in use."""

    @property
    def level(self) -> int:
        """A file that cannot be used is an error, though nothing fails yet."""
        return ERROR if self.problem else INFO


class Checked(Happening, frozen=True):
    """A health check ended."""

    level = DEBUG
    upstream: str
    endpoint: str
    passed: bool
    seconds: float


class HealthChanged(Happening, frozen=True):
    """The health of an address changed."""

    upstream: str
    endpoint: str
    address: str
    before: str
    after: str
    reason: str

    @property
    def level(self) -> int:
        """Only recovery is no warning."""
        return INFO if self.after == "healthy" else WARNING


class FailedOver(Happening, frozen=True):
    """Events of an upstream go to another endpoint first from now on."""

    level = WARNING
    upstream: str
    before: str
    after: str


# --- the spool ---


class SpoolOpened(Happening, frozen=True):
    """The spool is in use: at the start, and again after a trouble is over."""

    level = INFO
    sampled_by = ()
    directory: str
    events: int
    dead_letters: int


class SpoolBroken(Happening, frozen=True):
    """The spool cannot be used now, and events that need it are answered 503; it is tried again every second."""

    level = ERROR
    sampled_by = ()
    sampled_every = MINUTE
    directory: str
    reason: str


class SpoolSetAside(Happening, frozen=True):
    """A file of the spool could not be used; it has a new name, and what could be read of it was saved."""

    level = ERROR
    sampled_by = ("name",)
    directory: str
    name: str
    reason: str
    saved: int


class SpoolMigrated(Happening, frozen=True):
    """A file of an older version was brought to this one."""

    level = INFO
    sampled_by = ()
    directory: str
    before: int
    after: int


class SpoolCommitted(Happening, frozen=True):
    """What waited for the disk is durable."""

    operations: int
    seconds: float


class SpoolMeasured(Happening, frozen=True):
    """How much the spool holds."""

    events: int
    size: int
    dead_letters: int
    oldest_seconds: float


class EventsSpooled(Happening, frozen=True):
    """Events of one stream are in the spool, to be sent later."""

    stream: str
    count: int


class SpoolRefused(Happening, frozen=True):
    """Events needed the spool and could not be taken: it is full, or broken."""

    level = ERROR
    sampled_by = ("why",)
    sampled_every = MINUTE
    why: str
    reason: str
    events: int


class Replayed(Happening, frozen=True):
    """Events of the spool were sent, and ended alike: delivered, dead, error or failed."""

    sampled_by = ("upstream", "result")
    sampled_every = MINUTE
    upstream: str
    result: str
    events: int
    reason: str = ""
    """Why, where no endpoint took them."""

    @property
    def level(self) -> int:
        """Success is silent."""
        return WARNING if self.reason else NOTSET


class DeadLettered(Happening, frozen=True):
    """Events of one stream are not sent any more: invalid, errors, age, damaged, or refused."""

    level = WARNING
    sampled_by = ("stream", "cause")
    sampled_every = MINUTE
    stream: str
    cause: str
    count: int


class DeadLettersDropped(Happening, frozen=True):
    """The oldest dead letters had to make room for events: they are lost."""

    level = ERROR
    sampled_by = ()
    sampled_every = MINUTE
    count: int


class SpoolLeft(Happening, frozen=True):
    """The sidecar ends while events of a stream wait in its spool; the next one to use the directory sends them."""

    level = WARNING
    stream: str
    count: int


class SpoolNotPrinted(Happening, frozen=True):
    """The end left no time to write out all events that wait; the next sidecar to use the directory sends them."""

    level = WARNING
    count: int
    """Events that were not written out."""
    printed: int


class SpoolRerouted(Happening, frozen=True):
    """Events wait in the spool for an upstream that is gone, or is at another URL now: each is routed again."""

    level = WARNING
    sampled_by = ("upstream",)
    upstream: str
    count: int
    before: str
    """Its URL until now."""
    after: str
    """Empty where it is gone."""
