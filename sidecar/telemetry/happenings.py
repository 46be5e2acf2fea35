"""Everything that happens in the sidecar, as typed values; `metrics` counts them, `telemetry` logs them.

A happening has streams, names and reasons, but never event content. Its class sets the log level and the sampling.
"""

from __future__ import annotations

from logging import DEBUG, ERROR, INFO, NOTSET, WARNING
from typing import Any, ClassVar

import msgspec

from sidecar.telemetry.log import short

MAX_TEXT = 8192
"""Characters of problems in one log line; `check` shows the rest."""
MINUTE = 60.0


class Happening(msgspec.Struct, frozen=True):
    """Base of all happenings: log level, sampling and text."""

    sampled_by: ClassVar[tuple[str, ...] | None] = None
    """Lines are sampled per combination of these fields; None: every line is written."""
    sampled_every: ClassVar[float] = 1.0
    """Minimum seconds between two sampled lines."""

    @property
    def level(self) -> int:
        """The log level; NOTSET: not logged; DEBUG: only the observer is called."""
        return NOTSET

    @property
    def words(self) -> str:
        """The text of the log line."""
        fields = msgspec.structs.asdict(self)
        return " ".join(f"{name}={short(value)}" for name, value in fields.items() if value != "")


def _level_by(field: str, filled: int, empty: int) -> Any:
    """Return a property: the log level by whether a field is filled."""
    return property(lambda it: filled if getattr(it, field) else empty)


# --- the process ---


class Listening(Happening, frozen=True):
    """Both listeners accept connections."""

    level = INFO
    intake: str
    admin: str


class Stopping(Happening, frozen=True):
    """A signal asked to stop; requests are still taken for at most `seconds`."""

    level = INFO
    signal: str
    seconds: float


class Stopped(Happening, frozen=True):
    """Requests are no longer taken."""

    level = INFO
    unanswered: int


class Unexpected(Happening, frozen=True):
    """A bug of the sidecar was caught."""

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
    """The first digits of its SHA-256."""


class ConfigRefused(Happening, frozen=True):
    """A file was refused; the configuration in force stays."""

    level = ERROR
    file: str
    problems: int
    text: str
    """Every problem as `check` shows it."""

    @property
    def words(self) -> str:
        """The file and its problems, at most `MAX_TEXT` characters of them."""
        text = self.text if len(self.text) <= MAX_TEXT else f"{self.text[:MAX_TEXT]}… (`check` shows the rest)"
        return f"{self.file}\n{text}"


class ConfigNotKept(Happening, frozen=True):
    """The last good configuration could not be saved; a restart may miss it."""

    level = WARNING
    file: str
    reason: str


# --- requests and their events ---


class RequestAnswered(Happening, frozen=True):
    """A request was answered."""

    status: int
    seconds: float


class RequestRefused(Happening, frozen=True):
    """A whole request was refused."""

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
    """Why, if the outcome is not a success."""
    route: str = ""
    """The route that took them; empty if none did."""

    @property
    def level(self) -> int:
        """Success is not logged."""
        return WARNING if self.reason else NOTSET


class Mirrored(Happening, frozen=True):
    """Copies of one route's events ended alike: sent, failed, full, refused or stopped."""

    level = _level_by("reason", WARNING, NOTSET)
    sampled_by = ("route", "result")
    sampled_every = MINUTE
    route: str
    upstream: str
    result: str
    count: int
    reason: str = ""
    """Why they were not taken."""


# --- POSTs and the health of endpoints ---


class PostAnswered(Happening, frozen=True):
    """An endpoint answered a POST with a verdict."""

    upstream: str
    endpoint: str
    events: int
    seconds: float


class PostFailed(Happening, frozen=True):
    """An attempt at an endpoint ended without a verdict."""

    level = WARNING
    sampled_by = ("upstream", "endpoint", "failure")
    upstream: str
    endpoint: str
    failure: str
    reason: str
    seconds: float


class Resent(Happening, frozen=True):
    """Events were sent again although the first attempt may have been accepted: possible duplicates."""

    upstream: str
    endpoint: str
    """The endpoint of the first attempt."""
    events: int


class AddressesChanged(Happening, frozen=True):
    """The DNS answer for an endpoint's name changed; `before` and `after` are name → CNAMEs → addresses."""

    level = _level_by("problem", WARNING, INFO)  # though the last known addresses stay in use
    upstream: str
    endpoint: str
    before: str
    after: str
    problem: str = ""
    """Why the look-up failed."""


class CaFileChanged(Happening, frozen=True):
    """The CA file of an upstream changed and was read again."""

    level = _level_by("problem", ERROR, INFO)  # though nothing fails yet
    ca_file: str
    problem: str = ""
    """Why it cannot be used; the previous certificates stay in use."""


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
        """All changes but recovery are warnings."""
        return INFO if self.after == "healthy" else WARNING


class FailedOver(Happening, frozen=True):
    """Another endpoint now gets an upstream's events first."""

    level = WARNING
    upstream: str
    before: str
    after: str


# --- the spool ---


class SpoolOpened(Happening, frozen=True):
    """The spool is usable: at the start, or after a failure."""

    level = INFO
    sampled_by = ()
    directory: str
    events: int
    dead_letters: int


class SpoolBroken(Happening, frozen=True):
    """The spool is not usable; events that need it are answered 503, and it is tried again every second."""

    level = ERROR
    sampled_by = ()
    sampled_every = MINUTE
    directory: str
    reason: str


class SpoolSetAside(Happening, frozen=True):
    """A file of the spool was unusable; it was renamed, and the readable events in it were saved."""

    level = ERROR
    sampled_by = ("name",)
    directory: str
    name: str
    reason: str
    saved: int


class SpoolMigrated(Happening, frozen=True):
    """A file of an older version was migrated."""

    level = INFO
    sampled_by = ()
    directory: str
    before: int
    after: int


class SpoolCommitted(Happening, frozen=True):
    """A transaction was committed."""

    operations: int
    seconds: float


class SpoolMeasured(Happening, frozen=True):
    """The contents of the spool were counted."""

    events: int
    size: int
    dead_letters: int
    oldest_seconds: float


class EventsSpooled(Happening, frozen=True):
    """Events of one stream were put into the spool."""

    stream: str
    count: int


class SpoolRefused(Happening, frozen=True):
    """The spool was needed but could not take events: it is full, or broken."""

    level = ERROR
    sampled_by = ("why",)
    sampled_every = MINUTE
    why: str
    reason: str
    events: int


class Replayed(Happening, frozen=True):
    """Events of the spool were sent, with one result: delivered, dead, error or failed."""

    level = _level_by("reason", WARNING, NOTSET)
    sampled_by = ("upstream", "result")
    sampled_every = MINUTE
    upstream: str
    result: str
    events: int
    reason: str = ""
    """Why, if no endpoint took them."""


class DeadLettered(Happening, frozen=True):
    """Events of one stream became dead letters; `cause` is invalid, errors, age, damaged or refused."""

    level = WARNING
    sampled_by = ("stream", "cause")
    sampled_every = MINUTE
    stream: str
    cause: str
    count: int


class DeadLettersDropped(Happening, frozen=True):
    """The oldest dead letters were deleted to make room for events."""

    level = ERROR
    sampled_by = ()
    sampled_every = MINUTE
    count: int


class SpoolLeft(Happening, frozen=True):
    """The sidecar stops with events of a stream in its spool; the next one with this directory sends them."""

    level = WARNING
    stream: str
    count: int


class SpoolNotPrinted(Happening, frozen=True):
    """There was no time to print all waiting events at exit; the next sidecar with this directory sends them."""

    level = WARNING
    count: int
    """Events not printed."""
    printed: int


class SpoolRerouted(Happening, frozen=True):
    """Events in the spool are for an upstream that was removed or has another URL now; each is routed again."""

    level = WARNING
    sampled_by = ("upstream",)
    upstream: str
    count: int
    before: str
    """Its previous URL."""
    after: str
    """Its URL; empty if it was removed."""
