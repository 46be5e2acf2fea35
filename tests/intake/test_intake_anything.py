"""Promises of `intake` for any events under any configuration."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.events.event import parse
from sidecar.intake.answer import Answer
from sidecar.intake.intake import Intake, Post
from sidecar.routes.language.config import Config
from sidecar.routes.routing import Router
from tests import jsontext
from tests.anyroutes import CONFIGS, LABELS, event_of
from tests.anyroutes import EVENTS as ROUTED
from tests.intake.test_intake import FakeCoalescer
from tests.jsontext import as_read, meta_of, unhurried
from tests.scripted import Recorder

NEW_ID = "5ab1b3f0-6f0a-4d69-9a3c-1b0c3ad1d6c5"
EVENTS = st.one_of(jsontext.events, ROUTED.map(lambda value: event_of(value).raw), jsontext.values)


def taken(config: Config, labels: dict[str, str], body: bytes) -> tuple[Answer, FakeCoalescer]:
    """Return the answer to a POST, and the loads delivered."""
    delivery = FakeCoalescer()
    answers: list[Answer] = []
    intake = Intake(Router(config, labels), delivery.deliver, lambda: NEW_ID)
    intake.take(Post(body, hasty=False, headers=()), answers.append, Recorder().emit)
    (answer,) = answers
    return answer, delivery


@unhurried
@given(CONFIGS, LABELS, st.lists(EVENTS, min_size=1, max_size=4))
def test_every_event_is_delivered_to_an_upstream_that_accepts_it_or_refused(
    config: Config, labels: dict[str, str], raws: list[bytes]
) -> None:
    """One JSON answer lists all refused events; the upstream accepts all others in their final form."""
    answer, delivery = taken(config, labels, b"[" + b",".join(raws) + b"]")
    sent = [(upstream, event) for upstream, body, _, _ in delivery.sent for event in parse(body)]
    refused = as_read(answer.body)["invalid"] if answer.body else []
    assert len(sent) + len(refused) == len(raws)
    assert answer.status == (201 if not refused else 207 if sent else 400)
    for upstream, event in sent:
        meta = meta_of(as_read(event.raw))
        assert meta is None or "id" in meta
        assert Router(config, labels).accepts(upstream, event.stream, event)
