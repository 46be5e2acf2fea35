"""What `routes.yaml` can say: a frozen `Config`, section by section.

Every field says what it is for, its unit and its default. How a text becomes a `Config`, and what is said
where it does not, is in `loader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import CoreSchema, core_schema

from sidecar.pattern import Pattern
from sidecar.template import Template

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SIZE = re.compile(r"(\d{1,9})(B|KiB|MiB)")
_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,40}")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def shown(value: object) -> str:
    """Return a YAML value the way a message quotes it: short, and in YAML's words."""
    shown = {True: "true", False: "false", None: "empty"}.get(value) if isinstance(value, bool | None) else None
    text = shown or repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def duration(value: object) -> float:
    """Read `500ms`, `1.5s`, `5m` or `1h` as seconds.

    Raises:
        ValueError: it is none of these, or no time at all.

    """
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"is {shown(value)}; a duration is written 500ms, 1.5s, 5m or 1h")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds <= 0:
        raise ValueError("is no time at all; a duration is longer than 0s")
    return seconds


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise ValueError(f"is {shown(value)}; write a whole number from 1 to 1000")
    return value


def size_in_bytes(value: object) -> int:
    """Read `500B`, `64KiB` or `1MiB` as bytes.

    Raises:
        ValueError: it is none of these, or nothing at all.

    """
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError(f"is {shown(value)}; a size is written 64KiB, 1MiB or 500B")
    return int(found[1]) * _BYTES[found[2]]


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(
            f"is {shown(value)}; a name has up to 63 letters, digits, dots, dashes and underscores, "
            "and starts with a letter or digit (quote it if it is a number)"
        )
    return value


def _topic_prefix(value: object) -> str:
    if not isinstance(value, str) or not _TOPIC_PREFIX.fullmatch(value):
        raise ValueError(f"is {shown(value)}; write it as EventGate's own configuration does, with its dot: staging.")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"is {shown(value)}; write a text (quote it if it is a number or yes, no, on, off)")
    return value


def _url(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text.replace("{datacenter}", "datacenter"))
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is {text!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"is {text!r}; write it whole, as https://host:4492/v1/events")
    if not parts.path.strip("/"):
        raise ValueError(f"is {text!r}, which has no path; EventGate takes events at /v1/events")
    if parts.query or parts.fragment or parts.username or re.search(r"[{}\s]", text.replace("{datacenter}", "")):
        raise ValueError(f"is {text!r}; a query, a fragment, a user or spaces have no place here")
    return text


@dataclass(frozen=True)
class _ReadBy:
    """Lets a function of ours read a field, so that the words of a refusal are ours too."""

    read: Callable[[object], Any]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)


Duration = Annotated[float, _ReadBy(duration)]
Count = Annotated[int, _ReadBy(_count)]
Size = Annotated[int, _ReadBy(size_in_bytes)]
Name = Annotated[str, _ReadBy(_name)]
Text = Annotated[str, _ReadBy(_text)]
TopicPrefix = Annotated[str, _ReadBy(_topic_prefix)]
Url = Annotated[str, _ReadBy(_url)]
PatternField = Annotated[Pattern, _ReadBy(Pattern.parse)]
TemplateField = Annotated[Template, _ReadBy(Template.parse)]


class Section(BaseModel):
    """A mapping in `routes.yaml`: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, strict=True)


class Match(Section):
    """Which events: every key given must match; no key matches every event."""

    labels: dict[Name, PatternField] = {}
    """What the pod is, given by `--label` or `SIDECAR_LABELS`; a label the pod does not have never matches."""
    stream: PatternField | None = None
    """The event's `meta.stream`."""
    schema_: PatternField | None = Field(default=None, alias="schema")
    """The event's `$schema`."""
    event: dict[Text, PatternField] = {}
    """Dotted path in the event → the scalar there, as text (`true`, `42`, a string without its quotes)."""

    @property
    def patterns(self) -> dict[str, Pattern]:
        """Every pattern by its key, as messages call it: `labels.env`, `stream`, `event.page.page_id`."""
        found = {f"labels.{name}": pattern for name, pattern in self.labels.items()}
        found |= {key: each for key, each in (("stream", self.stream), ("schema", self.schema_)) if each is not None}
        return found | {f"event.{path}": pattern for path, pattern in self.event.items()}


class Tls(Section):
    """How an https endpoint proves who it is."""

    ca_file: Text | None = None
    """PEM bundle to verify against; default: the system's. On Wikimedia: /etc/ssl/certs/wmf-ca-certificates.crt."""
    server_name: Text | None = None
    """Name the certificate must carry and that is sent as SNI; default: the host of the URL."""


class Timeouts(Section):
    """How long to wait; the producer gives up after 5 s, so the deadline stays below that."""

    connect: Duration = 0.5
    """TCP and TLS together."""
    attempt: Duration = 1.5
    """One POST to one endpoint, from the first byte to the last."""
    deadline: Duration = 4.0
    """All attempts for one request together; the producer has its answer by then."""


class HealthCheck(Section):
    """Our periodic request to each address of an endpoint."""

    path: Text = "/_info"
    """What is fetched; never `/v1/_test/events`, which produces an event."""
    interval: Duration = 5.0
    """Between two checks, ±20 %; skipped while POSTs are answered, 1 s while a streak is deciding."""
    timeout: Duration = 1.0
    """For the whole of a check: TCP, TLS and HTTP."""
    fall: Count = 3
    """Failures in a row that make a healthy address unhealthy."""
    rise: Count = 2
    """Passes in a row that bring an unhealthy one back on probation."""


class Outlier(Section):
    """When real POSTs alone eject an address; EventGate's verdicts on events never count."""

    consecutive: Count = 3
    """Failures in a row."""
    percent: Count = 50
    """Or this share of the POSTs within `window`, if there were `requests` at least."""
    requests: Count = 10
    window: Duration = 30.0
    ejection: Duration = 5.0
    """How long the first ejection lasts; each one in a row twice as long, ±25 %."""
    max_ejection: Duration = 60.0


class Coalesce(Section):
    """How concurrent POSTs travel together; EventGate takes an array almost as cheaply as one event."""

    max_events: Count = 128
    """An array with so many events leaves at once."""
    max_bytes: Size = 1024 * 1024
    """So does one with so many bytes; a larger request travels alone."""
    linger: Duration = 0.005
    """How long an event waits at most while other arrays are under way."""


class Upstream(Section):
    """An EventGate service: one URL, or one for each of its datacenters."""

    url: Url
    """Where it takes events; `{datacenter}` stands for each of `datacenters`."""
    datacenters: list[Name] = []
    """In order of preference."""
    accepts: list[Match] | None = None
    """Last line of defence, whatever the routes say: what may be sent here, after rewriting. Default: all."""
    topic_prefixes: list[TopicPrefix] = []
    """What its EventGates put before a stream's name to make the Kafka topic, with the dot; shown, never used."""
    tls: Tls = Tls()
    timeouts: Timeouts = Timeouts()
    on_ambiguous: Literal["resend", "spool", "fail"] = "resend"
    """An attempt that broke off after the event was sent may have been taken. `resend`: try the next endpoint,
    same bytes, same `meta.id` (at least once); `spool`: the same, but later, from the spool; `fail`: tell the
    producer (at most once)."""
    spool: bool = True
    """Whether events that no endpoint took in time are kept and sent later, where `serve` has a spool; else they
    are answered 503."""

    health_check: HealthCheck = HealthCheck()
    outlier: Outlier = Outlier()
    coalesce: Coalesce = Coalesce()
    failback: Duration = 30.0
    """How long a preferred datacenter that was out must be healthy before it is preferred again."""

    @property
    def endpoints(self) -> tuple[tuple[str, str], ...]:
        """Name and URL of each endpoint in order of preference; without datacenters host and port are the name."""
        if not self.datacenters:
            return ((urlsplit(self.url).netloc, self.url),)
        return tuple((name, self.url.replace("{datacenter}", name)) for name in self.datacenters)


class Route(Section):
    """One rule; the first whose `match` fits takes the event."""

    name: Name
    match: Match = Match()
    to: Name | None = None
    """The upstream that gets it."""
    stream: TemplateField | None = None
    """New name of its stream; default: the name stays."""
    reject: Text | None = None
    """Instead of `to`: refuse it, and tell the producer why."""
    acknowledge: Literal["delivered", "spooled"] = "delivered"
    """When the producer has its answer: once EventGate has the event, or as soon as it is in the spool. Then the
    inference does not wait for EventGate at all; the answer is 202."""
    order_by: list[Text] = []
    """Dotted paths in the event. Of events with the same values there a newer one never overtakes an older one."""


class Expect(Section):
    """What a test says must become of its event; only the keys given are compared."""

    upstream: Name | None = None
    stream: Text | None = None
    route: Name | None = None
    refused: bool | None = None


class Test(Section):
    """An example in the file itself; `check` runs it."""

    name: Text
    labels: dict[Name, Text] = {}
    event: dict[Text, Any]
    expect: Expect


class Config(Section):
    """The whole of `routes.yaml`."""

    version: Literal[1]
    upstreams: dict[Name, Upstream] = Field(min_length=1)
    routes: list[Route] = Field(min_length=1)
    tests: list[Test] = []
