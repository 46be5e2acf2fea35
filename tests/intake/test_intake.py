"""Promises of `intake`: events are routed, delivered and answered."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.delivery.coalescer import Coalescer
from sidecar.errors import BodyTooLarge, EmptyBody, MalformedBody
from sidecar.events.event import MAX_EVENTS
from sidecar.events.outgoing import Done, Load, Outgoing
from sidecar.events.results import EventStatus, Outcome, failed
from sidecar.intake.answer import Answer
from sidecar.intake.intake import EVENTS_AT_ONCE, Intake, Post
from sidecar.intake.tap import Tap, Wanted
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry

ROUTES = """
version: 1
upstreams:
  production: {url: http://production/v1/events}
  staging: {url: http://staging/v1/events, accepts: [{stream: [score, renamed, both]}]}
routes:
  - {name: rename, match: {stream: score}, to: staging, stream: renamed}
  - {name: keep, match: {stream: [both, secret]}, to: staging}
  - {name: stop, match: {stream: stopped}, reject: "it was switched off"}
  - {name: live, match: {stream: live}, to: production}
"""

CONFIG = read(ROUTES)
MARKER = "Zq7MARKERq7Z"
"""Stands for what only the event's author may know."""
AJV = {
    "errors": [
        {
            "keyword": "type",
            "dataPath": f".map['{MARKER}']",
            "schemaPath": "#/properties/map/additionalProperties/type",
            "params": {"type": "string"},
            "message": "should be string",
        },
        {
            "keyword": "propertyNames",
            "dataPath": ".map",
            "schemaPath": "#/properties/map/propertyNames",
            "params": {"propertyName": MARKER},
            "message": f"property name '{MARKER}' is invalid",
        },
    ],
    "errorsText": f"'.map['{MARKER}']' should be string",
}
"""What EventGate says of an invalid event: keys of the event's own are in it."""
Json = Any
"""Whatever JSON can hold, as Python holds it."""


class FakeCoalescer(Coalescer):
    """Records its loads, and returns the status that `says` gives for each event."""

    def __init__(self) -> None:
        """It needs none of what the real one stands on."""
        self.sent: list[tuple[str, bytes, tuple[tuple[str, str], ...], bool]] = []
        self.meet = 1
        """So many deliveries must be under way at once before any of them ends."""
        self.held: list[Callable[[], None]] = []
        self.says: dict[str, str] = {}
        """Stream or id → `invalid`, `error` or `spooled`; others succeed."""

    def deliver(self, load: Load, done: Done) -> None:
        """Take events."""
        body = b"[" + b",".join(event.body for event in load.events) + b"]"
        self.sent.append((load.upstream, body, load.headers, load.hasty))
        answer = functools.partial(done, [self._status(load.upstream, event) for event in load.events])
        self.held.append(answer)
        if len(self.held) >= self.meet:
            for each in self.held:
                each()
            self.held.clear()

    def _status(self, upstream: str, event: Outgoing) -> EventStatus:
        match self.says.get(event.id or "", self.says.get(event.stream)):
            case "invalid":
                described = b'{"status":"invalid","event":%b,"context":%b}' % (event.body, json.dumps(AJV).encode())
                return EventStatus("invalid", Outcome.INVALID, described, upstream=upstream)
            case "error":
                return failed(event.body, "nobody answers", unreachable=True)
            case "spooled":
                return EventStatus("success", Outcome.SPOOLED, upstream=upstream)
        return EventStatus("success", Outcome.DELIVERED, upstream=upstream, endpoint="one")


class Desk:
    """An intake with a fake delivery."""

    def __init__(self) -> None:
        """Ids are counted, from id-1 on."""
        self.delivery = FakeCoalescer()
        self.parts = 0
        self.log = io.StringIO()
        self.telemetry = Telemetry(["score", "live"], make_log(self.log))
        numbers = itertools.count(1)
        router = Router(CONFIG, {"env": "staging"})
        self.tap = Tap(lambda: 0.0)
        self._intake = Intake(router, self.delivery.deliver, lambda: f"id-{next(numbers)}", self.tap)

    async def take(self, *events: object, hasty: bool = False, headers: tuple[tuple[str, str], ...] = ()) -> Json:
        """Take a lone event, or several as an array; return status, reason, outcome and body."""
        value = events[0] if len(events) == 1 else list(events)
        return await self.take_bytes(json.dumps(value).encode(), hasty=hasty, headers=headers)

    async def take_bytes(self, body: bytes, **more: Json) -> Json:
        """Take a body as it is."""
        values = {"hasty": False, "headers": ()}
        answers: list[Answer] = []
        rest = self._intake.take(Post(body, **{**values, **more}), answers.append, self.telemetry.emit)
        self.parts = len([None for _ in rest or ()])
        (answer,) = answers
        return answer.status, answer.reason, answer.outcome, json.loads(answer.body) if answer.body else None

    def counted(self, by: str = "stream") -> dict[tuple[str, str], float]:
        """Return how many events were counted, by stream or route and outcome."""
        name = {"stream": "eventgate_sidecar_events", "route": "eventgate_sidecar_route_events"}[by]
        metric = next(m for m in self.telemetry.registry.collect() if m.name == name)
        return {(each.labels[by], each.labels["outcome"]): each.value for each in metric.samples}


def event(stream: str, id: str = "a", **more: object) -> dict[str, object]:  # noqa: A002  it is `meta.id`
    """Return an event."""
    return {"meta": {"stream": stream, "id": id}, **more}


def refusal(event: object, message: str, route: str) -> dict[str, object]:
    """Return the sidecar's description of a refused event."""
    errors = [
        {
            "keyword": "route",
            "dataPath": ".meta.stream",
            "schemaPath": "routes.yaml",
            "params": {"route": route},
            "message": message,
        }
    ]
    context = {"errors": errors, "errorsText": f"'.meta.stream' {message}"}
    return {"status": "invalid", "event": event, "context": context}


async def test_a_lone_event_is_delivered_and_answered_201() -> None:
    """The usual case: one event, its upstream, EventGate's reason phrase."""
    desk = Desk()
    assert await desk.take(event("live"), headers=(("x-request-id", "r"),)) == (
        201,
        "All 1 out of 1 events were accepted.",
        "delivered; upstream=production; endpoint=one; route=live",
        None,
    )
    assert desk.delivery.sent == [
        ("production", b'[{"meta": {"stream": "live", "id": "a"}}]', (("x-request-id", "r"),), False)
    ]


async def test_a_stream_is_renamed_and_a_missing_id_is_added() -> None:
    """No other bytes change."""
    desk = Desk()
    await desk.take_bytes(b'{ "n": 1.0e400,"meta" : {"stream":"score"} , "n" : 10000000000000000000000 }')
    sent = b'[{ "n": 1.0e400,"meta" : {"id":"id-1","stream":"renamed"} , "n" : 10000000000000000000000 }]'
    assert [body for _, body, _, _ in desk.delivery.sent] == [sent]


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers() | st.floats(), st.lists, max_leaves=5))
async def test_everything_but_the_stream_stays_unchanged(value: object) -> None:
    """Whatever else an event has."""
    desk = Desk()
    text = json.dumps(value).encode().replace(b"NaN", b"null").replace(b"Infinity", b"1e400")
    await desk.take_bytes(b'{"before": %b, "meta": {"id": "x", "stream": "score"}, "after":%b}' % (text, text))
    sent = b'[{"before": %b, "meta": {"id": "x", "stream": "renamed"}, "after":%b}]' % (text, text)
    assert [body for _, body, _, _ in desk.delivery.sent] == [sent]


@pytest.mark.parametrize(
    ("stream", "route", "message"),
    [
        (
            "unheard-of",
            "",
            (
                "no route in routes.yaml takes stream unheard-of from env=staging; "
                "post to a stream that has a route, or ask for one"
            ),
        ),
        ("stopped", "stop", "route stop refuses it: it was switched off"),
        (
            "secret",
            "keep",
            (
                "route keep sends it to staging, which does not accept stream secret from env=staging; "
                "see upstreams.staging.accepts in routes.yaml"
            ),
        ),
    ],
    ids=["no route", "a route that rejects", "not accepted"],
)
async def test_a_refused_event_says_which_route_and_what_to_do(stream: str, route: str, message: str) -> None:
    """It is `invalid`, in EventGate's shape, and is not sent."""
    desk = Desk()
    status, reason, outcome, body = await desk.take(event(stream))
    assert (status, reason) == (400, "1 out of 1 events were invalid and not accepted.")
    assert outcome == ("refused; route=" + route if route else "refused")
    assert body == {"invalid": [refusal(event(stream), message, route)]}
    assert desk.delivery.sent == []


async def test_an_array_is_split_and_merged_in_its_order() -> None:
    """Two upstreams, refusals and failures: one answer, each kind in request order."""
    desk = Desk()
    desk.delivery.says = {"both": "invalid", "live": "error"}
    array = [
        event("both", "1"),
        event("score", "2"),
        event("stopped", "3"),
        event("live", "4"),
        event("both", "5"),
    ]
    status, reason, outcome, body = await desk.take(*array)
    assert (status, reason) == (
        207,
        "1 out of 5 events were accepted, but 4 failed (3 invalid and 1 errored).",
    )
    assert outcome == "mixed; upstream=staging; endpoint=one; route=keep,live,rename,stop"
    assert [each["event"]["meta"]["id"] for each in body["invalid"]] == ["1", "3", "5"]
    assert [each["event"]["meta"]["id"] for each in body["error"]] == ["4"]
    assert {upstream: len(json.loads(sent)) for upstream, sent, _, _ in desk.delivery.sent} == {
        "staging": 3,
        "production": 1,
    }


@pytest.mark.parametrize(("count", "parts"), [(EVENTS_AT_ONCE, 0), (2 * EVENTS_AT_ONCE + 1, 4)])
async def test_many_events_are_taken_in_parts(count: int, parts: int) -> None:
    """Other requests are served in between; the events leave together, and there is one answer."""
    desk = Desk()
    status, reason, *_ = await desk.take(*(event("score", f"{number}") for number in range(count)))
    assert (status, reason) == (201, f"All {count} out of {count} events were accepted.")
    assert desk.parts == parts
    assert [len(json.loads(sent)) for _, sent, _, _ in desk.delivery.sent] == [count]


async def test_upstreams_are_served_in_parallel() -> None:
    """Both deliveries start before either ends."""
    desk = Desk()
    desk.delivery.meet = 2
    status, *_ = await desk.take(event("live", "1"), event("score", "2"))
    assert status == 201


async def test_events_of_one_id_never_share_an_array() -> None:
    """A duplicate id starts the next array, so that each failure can be matched."""
    desk = Desk()
    await desk.take(event("live", "same"), event("live", "other"), event("live", "same", n=2))
    sent = [[each["meta"]["id"] for each in json.loads(body)] for _, body, _, _ in desk.delivery.sent]
    assert sent == [["same", "other"], ["same"]]


async def test_hasty_is_passed_on_and_answered_202() -> None:
    """As EventGate answers a producer that does not want to wait."""
    desk = Desk()
    status, reason, *_ = await desk.take(event("live"), hasty=True)
    assert (status, reason) == (202, "1 events hastily received.")
    assert [hasty for *_, hasty in desk.delivery.sent] == [True]


async def test_unreachable_endpoints_are_answered_503() -> None:
    """If nothing was accepted: trying again later may help."""
    desk = Desk()
    desk.delivery.says = {"live": "error"}
    status, reason, _, body = await desk.take(event("live"))
    assert (status, reason) == (
        503,
        "1 out of 1 events had failures and were not accepted. (0 invalid and 1 errored).",
    )
    error = {"status": "error", "event": event("live"), "context": {"message": "nobody answers"}}
    assert body == {"invalid": [], "error": [error]}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", EmptyBody),
        (b"[]", EmptyBody),
        (b'{"meta"', MalformedBody),
        (b"[" + b"{}," * MAX_EVENTS + b"{}]", BodyTooLarge),
    ],
    ids=["nothing", "an empty array", "half of one", "too many"],
)
async def test_a_body_that_is_not_events_is_refused(body: bytes, error: type[Exception]) -> None:
    """As a whole."""
    desk = Desk()
    with pytest.raises(error):
        await desk.take_bytes(body)
    assert desk.delivery.sent == []


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["score", "both", "secret", "stopped", "live", "unheard-of"]), min_size=1))
async def test_every_event_received_is_counted_once(streams: list[str]) -> None:
    """Received is the sum of the outcomes for each stream; unknown streams share `_other`."""
    desk = Desk()
    desk.delivery.says = {"both": "invalid", "live": "error"}
    await desk.take(*(event(stream, str(number)) for number, stream in enumerate(streams)))
    outcomes = {
        "score": ("score", "delivered"),
        "live": ("live", "failed"),
        "both": ("_other", "invalid"),
        "secret": ("_other", "refused"),
        "stopped": ("_other", "refused"),
        "unheard-of": ("_other", "refused"),
    }
    ends = [outcomes[stream] for stream in streams]
    assert desk.counted() == {end: float(ends.count(end)) for end in set(ends)}


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["score", "both", "secret", "stopped", "live", "unheard-of"]), min_size=1))
async def test_every_event_received_is_counted_under_its_route(streams: list[str]) -> None:
    """For any stream; events without a route share `_none`."""
    desk = Desk()
    desk.delivery.says = {"both": "invalid", "live": "error"}
    await desk.take(*(event(stream, str(number)) for number, stream in enumerate(streams)))
    outcomes = {
        "score": ("rename", "delivered"),
        "live": ("live", "failed"),
        "both": ("keep", "invalid"),
        "secret": ("keep", "refused"),
        "stopped": ("stop", "refused"),
        "unheard-of": ("_none", "refused"),
    }
    ends = [outcomes[stream] for stream in streams]
    assert desk.counted("route") == {end: float(ends.count(end)) for end in set(ends)}


ENDS = {"": "delivered", "invalid": "invalid", "error": "failed", "spooled": "spooled"}
"""What the delivery may say of an event, and the outcome that this is."""


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["score", "both", "stopped", "live", "unheard-of"]), st.sampled_from([*ENDS]))
        ),
        max_size=6,
    )
)
async def test_the_sums_of_outcomes_are_right(requests: list[list[tuple[str, str]]]) -> None:
    """Received = delivered + invalid + refused + spooled + failed for each stream, for any requests."""
    desk = Desk()
    received, ended = Counter[str](), Counter[tuple[str, str]]()
    for number, events in enumerate(requests):
        named = [(f"{number}-{place}", stream, said) for place, (stream, said) in enumerate(events)]
        desk.delivery.says = {id_: said for id_, _, said in named}
        for _, stream, said in named:
            label = stream if stream in {"score", "live"} else "_other"
            received[label] += 1
            ended[label, "refused" if stream in {"stopped", "unheard-of"} else ENDS[said]] += 1
        with contextlib.suppress(EmptyBody):  # a request without events counts none
            await desk.take_bytes(json.dumps([event(stream, id_) for id_, stream, _ in named]).encode())
    sums = Counter[str]()
    for (stream, _), count in desk.counted().items():
        sums[stream] += int(count)
    assert (desk.counted(), sums) == (ended, received)
    assert sum(desk.counted("route").values()) == received.total()


async def test_no_event_is_written_to_the_log() -> None:
    """Stream and reason are, but no event content."""
    desk = Desk()
    desk.delivery.says = {"both": "invalid", "live": "error"}
    streams = ["score", "both", "secret", "live"]
    await desk.take(*(event(each, f"{MARKER}-{n}", **{MARKER: [MARKER]}) for n, each in enumerate(streams)))
    logged = [json.loads(line)["eventgate_sidecar"] for line in desk.log.getvalue().splitlines()]
    assert MARKER not in desk.log.getvalue()
    assert {(each["stream"], each["outcome"], each["count"]) for each in logged} == {
        ("both", "invalid", 1),
        ("secret", "refused", 1),
        ("live", "failed", 1),
    }


async def test_the_log_has_the_schemas_words() -> None:
    """Why an event is invalid is given by the schema; the event's own keys are left out."""
    desk = Desk()
    desk.delivery.says = {"both": "invalid"}
    await desk.take(event("both"))
    (line,) = [json.loads(line)["eventgate_sidecar"] for line in desk.log.getvalue().splitlines()]
    reasons = "#/properties/map/additionalProperties/type should be string, #/properties/map/propertyNames"
    assert line == {"stream": "both", "outcome": "invalid", "count": 1, "reason": reasons, "route": "keep"}


async def test_the_tap_sees_every_answered_event() -> None:
    """Sent ones with their new stream and id, refused ones without."""
    desk = Desk()
    desk.delivery.says = {"live": "error"}
    with desk.tap.listener(Wanted()) as take:
        await desk.take({"meta": {"stream": "score"}}, event("stopped"), event("live"), event("unheard-of"))
        found = [(each.stream, each.route, each.sent_as, each.id, each.outcome) for each in take()]  # type: ignore[union-attr]
    assert found == [
        ("score", "rename", "renamed", "id-1", "delivered"),
        ("stopped", "stop", "", "a", "refused"),
        ("live", "live", "live", "a", "failed"),
        ("unheard-of", "", "", "a", "refused"),
    ]


async def test_the_answer_is_written_before_the_tap() -> None:
    """Listeners never delay a producer."""
    desk = Desk()
    with desk.tap.listener(Wanted()) as take:
        answered: list[int] = []
        desk._intake.take(
            Post(json.dumps(event("live")).encode(), hasty=False, headers=()),
            lambda _: answered.append(len(take())),
            desk.telemetry.emit,
        )
        assert (answered, len(take())) == ([0], 1)
