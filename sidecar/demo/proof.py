"""Checks each event in the files of accepted events that the emulated EventGates write.

It does not rely on what the sidecar says: an event arrived if it is in a file once, where routes.yaml says, byte for
byte.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.demo.modelserver import KINDS, Kind, Posted
from sidecar.events.event import parse
from sidecar.routes.routing import Router

SCORES, PREDICTIONS = "mediawiki/revision/score", "mediawiki/page/prediction_classification_change"
TEST_STREAMS = {"mediawiki.revision-score-test": SCORES, "mediawiki.page_prediction_change.rc0": PREDICTIONS}
"""What a staging model server may write to production EventGate."""
STREAMS = TEST_STREAMS | {
    "mediawiki.revision_score_articlequality": SCORES,
    "mediawiki.revision_score_articletopic": SCORES,
    "mediawiki.revision_score_damaging": SCORES,
    "mediawiki.revision_score_draftquality": SCORES,
    "mediawiki.revision_score_drafttopic": SCORES,
    "mediawiki.revision_score_goodfaith": SCORES,
    "mediawiki.revision_score_reverted": SCORES,
    "mediawiki.article_country_prediction_change.v1": PREDICTIONS,
    "mediawiki.page_outlink_topic_prediction_change.v1": PREDICTIONS,
    "mediawiki.page_revert_risk_prediction_change.v1": PREDICTIONS,
    "mediawiki.page_revert_risk_multilingual_prediction_change.v1": PREDICTIONS,
    "mediawiki.page_revert_risk_wikidata_prediction_change.v1": PREDICTIONS,
    "mediawiki.cirrussearch.page_weighted_tags_change.v1": "mediawiki/cirrussearch/page_weighted_tags_change",
}
"""The EventGates' stream configuration: Lift Wing's streams and their schema titles."""

PROBLEMS = ("lost", "doubled", "misplaced", "changed", "in_production_streams", "wrongly_answered")
"""What can be wrong with an event: it is missing; twice in one EventGate, or there although refused; in the wrong
place; changed; in a production stream; answered wrongly."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Gate:
    """An emulated EventGate."""

    name: str
    upstream: str
    host: str
    prefix: str
    """Prefix of the stream's name in Kafka topics."""


@dataclass(frozen=True)
class Record:
    """An event as an EventGate stored it."""

    gate: Gate
    stream: str
    topic: str
    id: str
    raw: bytes


def lines_of(path: Path) -> list[Json]:
    """Return the JSON objects in a file of lines, without other and incomplete lines."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]


def records_in(gate: Gate, path: Path) -> list[Record]:
    """Return what `gate` accepted."""
    return [
        Record(gate, line["stream"], line["topic"], line["event"]["meta"]["id"], line["raw"].encode())
        for line in lines_of(path)
    ]


def ways(posts: Sequence[Posted], records: Sequence[Record]) -> list[Json]:
    """Return for each kind of event how many were sent, the answers, and where they arrived."""
    by_id = _by_id(records)
    return [_way(kind, [post for post in posts if post.kind is kind], by_id) for kind in KINDS]


def _way(kind: Kind, posts: Sequence[Posted], by_id: dict[str, list[Record]]) -> Json:
    places = Counter(
        (record.gate.name, record.gate.upstream, record.stream, record.topic)
        for post in posts
        for record in by_id[post.id]
    )
    keys = ("gate", "upstream", "stream", "topic")
    return {
        "stream": kind.stream,
        "wrong": kind.wrong,
        "sent": len(posts),
        "answers": dict(Counter(f"{post.status} {post.reason}" for post in posts)),
        "outcomes": dict(Counter(post.outcome for post in posts)),
        "arrived": [{**dict(zip(keys, place, strict=True)), "events": n} for place, n in places.items()],
    }


def repeated(records: Sequence[Record]) -> int:
    """Return the number of duplicate records.

    A duplicate in another datacenter is not an error: if an answer is late the sidecar tries the next one, with the
    same `meta.id`.
    """
    return len(records) - len({record.id for record in records})


def problems(posts: Iterable[Posted], records: Sequence[Record], router: Router) -> Iterator[tuple[str, str]]:
    """Yield everything that is wrong: one of `PROBLEMS`, and a message."""
    by_id = _by_id(records)
    for post in posts:
        yield from _problems_of(post, by_id.pop(post.id, []), router)
    for strangers in by_id.values():
        yield "doubled", f"{strangers[0].topic} has an event that was never sent"
    for record in records:
        if record.gate.upstream == "production" and record.stream not in TEST_STREAMS:
            yield "in_production_streams", f"{record.topic} has an event from staging"


def _problems_of(post: Posted, records: list[Record], router: Router) -> Iterator[tuple[str, str]]:
    (event,) = parse(post.body)
    decision = router.decide(event)
    name, told = post.kind.stream, f"{post.status} {post.reason}"
    deserved = post.kind.status if decision.upstream else 400
    # One datacenter reports an error for the event; the other hangs and may have taken it.
    unknown = (deserved, post.status) == (500, 503)
    if post.status != deserved and not unknown:
        yield "wrongly_answered", f"an event of {name} was answered {told}, not {deserved}: {decision}"
    accepted = 200 <= post.status < 300
    if accepted and not records:
        yield "lost", f"an event of {name} was answered {told} and is nowhere"
    gates = [record.gate.name for record in records]
    if (gates and not accepted) or len(set(gates)) < len(gates):
        yield "doubled", f"an event of {name} was answered {told} and is in {', '.join(gates)}"
    stream = decision.stream or name
    body = post.body.replace(f'"stream": "{name}"'.encode(), f'"stream": "{stream}"'.encode())
    for record in records:
        topic = f"{record.gate.prefix}{stream}"
        if (record.gate.upstream, record.stream, record.topic) != (decision.upstream, stream, topic):
            yield "misplaced", f"an event of {name} is in {record.topic} of {record.gate.name}: {decision}"
        if record.raw != body:
            yield "changed", f"an event of {name} is there as {record.raw!r}, but was sent as {post.body!r}"


def _by_id(records: Iterable[Record]) -> dict[str, list[Record]]:
    by_id: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_id[record.id].append(record)
    return by_id
