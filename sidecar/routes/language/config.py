"""The keys of `routes.yaml`: a frozen `Config`, section by section.

Every field documents its meaning, unit and default. `loader` turns a text into a `Config`, or reports problems.
"""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from sidecar.routes.language.pattern import STREAM_NAME, Pattern, Template
from sidecar.routes.language.scalars import DURATION, LABEL, SIZE, duration, host_in, size_in_bytes, text_in, url_in
from sidecar.routes.language.section import Form, NotEmpty, Section, shown, string_in

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,40}")


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise ValueError(f"is {shown(value)}; write a whole number from 1 to 1000")
    return value


def _name(value: object) -> str:
    text = string_in(value)
    if not NAME.fullmatch(text):
        raise ValueError(
            f"is {shown(text)}; a name has up to 63 letters, digits, dots, dashes and underscores, "
            "and starts with a letter or digit"
        )
    return text


def _version(value: object) -> int:
    if type(value) is not int or value != 1:
        raise ValueError(f"is {shown(value)}{' in quotes' if value == '1' else ''}; allowed: 1")
    return value


def _topic_prefix(value: object) -> str:
    if not isinstance(value, str) or not _TOPIC_PREFIX.fullmatch(value):
        raise ValueError(f"is {shown(value)}; write it as in EventGate's own configuration, with the dot: staging.")
    return value


def _written(pattern: str, *examples: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^(?:{pattern})$", "examples": list(examples)}


_IN_URL = r"(?:(?![{}?#])[!-~]|\{datacenter\})"
_NAME_OF_HOST = r"(?:[A-Za-z0-9_-]|\{datacenter\}){1,63}"
_HOST = rf"(?:{_NAME_OF_HOST}(?:\.{_NAME_OF_HOST})*|\[[0-9A-Fa-f:.]+\])(?::0*[1-9][0-9]{{0,4}})?"
_IN_NAME = r"(?:[A-Za-z0-9._-]|\{[^{}]*\})"
_PATTERN = {"type": "string", "minLength": 1}

Version = Annotated[int, Form(_version, {"enum": [1]})]
_AS_DURATION = _written(rf"(?=.*[1-9]){DURATION.pattern}", "500ms", "1.5s", "5m")
Duration = Annotated[float, Form(duration, _AS_DURATION)]
Interval = Annotated[float, Form(functools.partial(duration, least="100ms", most="1h"), _AS_DURATION)]
UpToAnHour = Annotated[float, Form(functools.partial(duration, most="1h"), _AS_DURATION)]
Count = Annotated[int, Form(_count, {"type": "integer", "minimum": 1, "maximum": 1000})]
Size = Annotated[int, Form(size_in_bytes, _written(rf"(?=.*[1-9]){SIZE.pattern}", "64KiB", "1MiB"))]
Name = Annotated[str, Form(_name, _written(NAME.pattern, "production"))]
Text = Annotated[str, Form(text_in, {"type": "string", "pattern": r"\S"})]
TopicPrefix = Annotated[str, Form(_topic_prefix, _written(_TOPIC_PREFIX.pattern, "eqiad.", "staging."))]
Url = Annotated[
    str,
    Form(
        url_in,
        _written(
            rf"[Hh][Tt][Tt][Pp][Ss]?://{_HOST}(?=/+[^/]){_IN_URL}*",
            "https://eventgate-main.discovery.wmnet:4492/v1/events",
            "https://staging.svc.{datacenter}.wmnet:4492/v1/events",
        ),
    ),
]
PatternField = Annotated[
    Pattern,
    Form(
        Pattern.parse,
        {
            "anyOf": [_PATTERN, {"type": "array", "items": _PATTERN, "minItems": 1}],
            "examples": ["mediawiki.revision-score-test", "mediawiki.revision_score_*", "/^mediawiki\\.(.*)_score/"],
        },
    ),
]
TemplateField = Annotated[
    Template,
    Form(
        Template.parse,
        _written(
            rf"(?:[A-Za-z0-9]|\{{[^{{}}]*\}}){_IN_NAME}{{0,199}}",
            *("mediawiki.revision-score-test", "{stream}.test", "score.{labels.isvc}", "score.{1}"),
        ),
    ),
]


# Of these the loader says more, together with what else is wrong.
Percent = Annotated[int, Form(_count, {"type": "integer", "minimum": 1, "maximum": 100})]
StreamName = Annotated[str, Form(text_in, _written(STREAM_NAME.pattern, "mediawiki.revision-score-test"))]
UrlPath = Annotated[str, Form(text_in, _written(r"/(?:(?!#)[!-~])*", "/_info"))]
HostName = Annotated[
    str,
    Form(
        host_in,
        _written(
            rf"{LABEL.pattern}(?:\.{LABEL.pattern})*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", "eventgate-main.discovery.wmnet"
        ),
    ),
]


class Match(Section, frozen=True, kw_only=True):
    """Selects events: all given keys must match; without keys, every event matches."""

    labels: dict[Name, PatternField] = {}
    """Labels of the pod, set by `--label` or `SIDECAR_LABELS`; a label that the pod does not have never matches."""
    stream: PatternField | None = None
    """The event's `meta.stream`."""
    schema_: PatternField | None = msgspec.field(default=None, name="schema")
    """The event's `$schema`."""
    event: dict[Text, PatternField] = {}
    """Dotted path in the event → the scalar there, as text (`true`, `42`, a string without its quotes)."""

    @property
    def patterns(self) -> dict[str, Pattern]:
        """All patterns by their keys, as in messages: `labels.env`, `stream`, `event.page.page_id`."""
        found = {f"labels.{name}": pattern for name, pattern in self.labels.items()}
        found |= {key: each for key, each in (("stream", self.stream), ("schema", self.schema_)) if each is not None}
        return found | {f"event.{path}": pattern for path, pattern in self.event.items()}


class Tls(Section, frozen=True, kw_only=True):
    """How the certificate of an https endpoint is verified."""

    ca_file: Text | None = None
    """PEM bundle to verify against; default: the system's. On Wikimedia: /etc/ssl/certs/wmf-ca-certificates.crt."""
    server_name: HostName | None = None
    """Host name that the certificate must contain, also sent as SNI; default: the host of the URL."""


class Timeouts(Section, frozen=True, kw_only=True):
    """How long to wait; producers give up after 5 s, so the deadline must be shorter."""

    connect: Duration = 0.5
    """TCP and TLS together."""
    attempt: Duration = 1.5
    """One POST to one endpoint, from the first byte to the last."""
    deadline: Duration = 4.0
    """All attempts for one request together; the producer is answered by then."""


class HealthCheck(Section, frozen=True, kw_only=True):
    """The periodic request to each address of an endpoint."""

    path: UrlPath = "/_info"
    """The path to fetch; not `/v1/_test/events`, which produces an event."""
    interval: Interval = 5.0
    """Between two checks, ±20 %, 100ms to 1h; skipped while POSTs are answered, 1 s during a streak."""
    timeout: UpToAnHour = 1.0
    """For the whole of a check: TCP, TLS and HTTP; up to the interval."""
    fall: Count = 3
    """Failures in a row that make a healthy address unhealthy."""
    rise: Count = 2
    """Passes in a row after which an unhealthy address is on probation."""


class Outlier(Section, frozen=True, kw_only=True):
    """When real POSTs alone eject an address; EventGate's verdicts on events never count."""

    consecutive: Count = 3
    """Failures in a row."""
    percent: Percent = 50
    """Or this share of the POSTs within `window`, if there were at least `requests`."""
    requests: Count = 10
    """The minimum number of POSTs for `percent`."""
    window: UpToAnHour = 30.0
    """How far back `percent` looks; up to 1h."""
    ejection: UpToAnHour = 5.0
    """How long the first ejection lasts, ±25 %; each further one in a row lasts twice as long; up to 1h."""
    max_ejection: UpToAnHour = 60.0
    """The longest ejection; up to 1h."""


class Coalesce(Section, frozen=True, kw_only=True):
    """How concurrent POSTs are combined; an array costs EventGate little more than one event."""

    max_events: Count = 128
    """An array with this many events is sent at once."""
    max_bytes: Size = 1024 * 1024
    """An array of this size is sent at once, up to 10MiB; a larger request is sent alone."""
    linger: Duration = 0.005
    """The longest time that an event waits while other arrays are in flight; up to half of the deadline."""


class Upstream(Section, frozen=True, kw_only=True):
    """An EventGate service: one URL, or one for each of its datacenters."""

    url: Url
    """The URL that takes events; `{datacenter}` is replaced by each of `datacenters`."""
    datacenters: list[Name] = []
    """In order of preference."""
    accepts: list[Match] | None = None
    """Last line of defence: which events may be sent here, after renaming, whatever the routes say. Default: all."""
    topic_prefixes: list[TopicPrefix] = []
    """Prefixes that its EventGates add to a stream's name to form the Kafka topic, with the dot; only shown."""
    event_service: Name | None = None
    """The `destination_event_service` that its streams declare; for `check --stream-config`."""
    tls: Tls = Tls()
    timeouts: Timeouts = Timeouts()
    on_ambiguous: Literal["resend", "spool", "fail"] = "resend"
    """What to do if an attempt breaks off after the event was sent, since EventGate may have taken it. `resend`: try
    the next endpoint, same bytes, same `meta.id` (at least once); `spool`: the same, but later, from the spool; `fail`:
    tell the producer that it failed (at most once)."""
    spool: bool = True
    """Whether events that no endpoint took in time are kept and sent later, if `serve` has a spool; else they are
    answered 503."""

    health_check: HealthCheck = HealthCheck()
    outlier: Outlier = Outlier()
    coalesce: Coalesce = Coalesce()
    failback: Duration = 30.0
    """How long a preferred datacenter that was out must be healthy before it is preferred again; up to 24h."""

    @property
    def endpoints(self) -> tuple[tuple[str, str], ...]:
        """Name and URL of each endpoint in order of preference; without datacenters, host and port are the name."""
        if not self.datacenters:
            return ((urlsplit(self.url).netloc, self.url),)
        return tuple((name, self.url.replace("{datacenter}", name)) for name in self.datacenters)


class Mirror(Section, frozen=True, kw_only=True):
    """Copies of a route's events for another upstream: sent once, after the event, without effect on the answer."""

    to: Name
    """The upstream that gets the copies; its `accepts` applies to them."""
    stream: TemplateField | None = None
    """The stream of the copy; default: the event's original name."""
    percent: Percent = 100
    """The share of events that are copied, chosen by `meta.id`: an event is chosen always or never."""


class Route(Section, frozen=True, kw_only=True):
    """One rule; the first whose `match` fits takes the event."""

    name: Name
    """A unique name, shown by `explain`, in answers and in the log."""
    match: Match = Match()
    to: Name | None = None
    """The upstream that gets it."""
    stream: TemplateField | None = None
    """New name of its stream; default: the name stays."""
    reject: Text | None = None
    """Instead of `to`: refuse the event, with this reason in the answer."""
    acknowledge: Literal["delivered", "spooled"] = "delivered"
    """When the producer is answered: `delivered`, once EventGate has the event; `spooled`, once it is in the spool,
    with 202 and without waiting for EventGate."""
    mirror: Mirror | None = None
    """Copies of its events for another upstream."""
    order_by: list[Text] = []
    """Dotted paths in the event; a newer event never overtakes an older one with the same values there."""


class Expect(Section, frozen=True, kw_only=True):
    """The expected result of a test; only the given keys are compared."""

    upstream: Name | None = None
    """The upstream that gets it."""
    stream: StreamName | None = None
    """The name of the stream that is sent."""
    route: Name | None = None
    """The route that takes it."""
    refused: bool | None = None
    """`true`: it is refused; `false`: it is sent."""

    @property
    def given(self) -> dict[str, Any]:
        """The keys with a value."""
        return {key: value for key, value in msgspec.structs.asdict(self).items() if value is not None}


class Test(Section, frozen=True, kw_only=True):
    """An example that `check` runs."""

    name: Text
    """What it promises."""
    labels: dict[Name, Text] = {}
    """The labels of the example's pod."""
    event: dict[Text, Any]
    """The event, or as much of it as routes read."""
    expect: Expect


class Config(Section, frozen=True, kw_only=True):
    """The whole of `routes.yaml`."""

    version: Version
    """Always 1."""
    upstreams: Annotated[dict[Name, Upstream], NotEmpty()]
    """The EventGate services, by names that you choose; at least one."""
    routes: Annotated[list[Route], NotEmpty()]
    """Tried from the top; the first whose `match` fits takes the event."""
    tests: list[Test] = []
    """Examples that must stay true; `check` runs them."""

    @property
    def needs_spool(self) -> list[str]:
        """What needs a spool."""
        needs = [f"route {each.name} has acknowledge: spooled" for each in self.routes if each.acknowledge == "spooled"]
        needs += [f"route {each.name} has order_by" for each in self.routes if each.order_by]
        return needs + [
            f"upstream {name} has on_ambiguous: spool"
            for name, each in self.upstreams.items()
            if each.on_ambiguous == "spool"
        ]
