"""An emulated model server, which creates and posts scores as Lift Wing's model servers do.

Events and posting follow python/events.py in Lift Wing's inference-services: one event per POST, awaited inside the
inference for at most 5 s, and any answer of 400 or more is an error.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

Event = dict[str, Any]
OUTCOME = "x-eventgate-sidecar"


@dataclass(frozen=True)
class Kind:
    """A kind of events; if EventGate refuses them, `wrong` says why, and `status` is its answer."""

    stream: str
    make: Callable[[str, int], Event]
    wrong: str = ""
    status: int = 201


@dataclass(frozen=True)
class Posted:
    """An event as sent, and the answer."""

    kind: Kind
    id: str
    body: bytes
    status: int
    """0: there was no answer."""
    reason: str
    seconds: float
    """How long the answer took."""
    begun: float = 0.0
    """Loop time at which it was sent."""
    outcome: str = ""
    """What the sidecar says became of it; empty if there was no answer, or no sidecar."""


def _revision_score(stream: str, number: int) -> Event:
    model, share = stream.rpartition("_")[2], _share(number)
    topic = "Culture.Biography.Biography*"
    if model.endswith("topic"):
        score: Event = {"prediction": [topic], "probability": {topic: share}}
    else:
        score = {"prediction": [str(share > 0.5).lower()], "probability": {"true": share, "false": 1 - share}}
    return {
        "$schema": "/mediawiki/revision/score/3.0.0",
        "dt": _dt(number),
        "meta": _meta(stream, number),
        "database": "dewiki",
        "page_id": 4000 + number,
        "page_title": _title(number),
        "page_namespace": 0,
        "page_is_redirect": False,
        "rev_id": 250_000_000 + number,
        "rev_timestamp": _dt(number),
        "performer": {"user_text": "Example", "user_groups": ["*", "user"], "user_is_bot": False},
        "scores": {model: {"model_name": model, "model_version": "0.5.1", **score}},
    }


def _prediction_not_a_list(stream: str, number: int) -> Event:
    event = _revision_score(stream, number)
    for score in event["scores"].values():
        score["prediction"] = "true"
    return event


def _classification(stream: str, number: int) -> Event:
    return {
        "$schema": "/mediawiki/page/prediction_classification_change/1.3.0",
        "changelog_kind": "update",
        "page_change_kind": "edit",
        "dt": _dt(number),
        "meta": _meta(stream, number),
        "page": {"page_id": 4000 + number, "page_title": _title(number), "namespace_id": 0},
        "revision": {"rev_id": 250_000_000 + number, "rev_dt": _dt(number)},
        "wiki_id": "dewiki",
        "predicted_classification": {
            "model_name": "demo",
            "model_version": "1",
            "predictions": ["Germany"],
            "probabilities": {"Germany": _share(number)},
        },
    }


def _weighted_tags(stream: str, number: int) -> Event:
    country = {"tag": "Germany", "score": _share(number)}
    return {
        "$schema": "/mediawiki/cirrussearch/page_weighted_tags_change/1.0.0",
        "dt": _dt(number),
        "meta": _meta(stream, number),
        "page": {"page_id": 4000 + number, "page_title": _title(number), "namespace_id": 0},
        "weighted_tags": {"set": {"classification.prediction.country": [country]}},
        "wiki_id": "dewiki",
        "rev_based": True,
    }


def _meta(stream: str, number: int) -> Event:
    return {
        "stream": stream,
        "id": str(uuid.uuid4()),
        "request_id": str(uuid.uuid4()),
        "domain": "de.wikipedia.org",
        "uri": f"https://de.wikipedia.org/wiki/{_title(number)}",
    }


def _title(number: int) -> str:
    return f"Ärztekammer_{number}"


def _dt(number: int) -> str:
    return f"2026-11-23T12:{number // 60 % 60:02}:{number % 60:02}Z"


def _share(number: int) -> float:
    """Return a probability: multiples of the golden ratio look random, but are reproducible."""
    return round(number * 0.6180339887498949 % 1, 4)


DRAFTTOPIC = Kind("mediawiki.revision_score_drafttopic", _revision_score)
DAMAGING = Kind("mediawiki.revision_score_damaging", _revision_score)
GOODFAITH = Kind("mediawiki.revision_score_goodfaith", _revision_score)
OUTLINK = Kind("mediawiki.page_outlink_topic_prediction_change.v1", _classification)
COUNTRY = Kind("mediawiki.article_country_prediction_change.v1", _classification)
TAGS = Kind("mediawiki.cirrussearch.page_weighted_tags_change.v1", _weighted_tags)
TESTING = Kind("mediawiki.page_prediction_change.rc0", _classification)
INVALID = Kind(DAMAGING.stream, _prediction_not_a_list, "its prediction is not a list", 400)
UNKNOWN = Kind("mediawiki.revision_scores_damaging", _revision_score, "no such stream", 500)
KINDS = (DRAFTTOPIC, DAMAGING, GOODFAITH, OUTLINK, COUNTRY, TAGS, TESTING, INVALID, UNKNOWN)

_USUAL = ((DRAFTTOPIC,), (DAMAGING,), (OUTLINK,), (GOODFAITH,), (COUNTRY, TAGS), (DAMAGING,), (DRAFTTOPIC,))
_ROUND = (*_USUAL, (TESTING,), *_USUAL, (INVALID,), *_USUAL, (UNKNOWN,))
"""Inferences, each with the events it sends, to be repeated; article-country sends two."""


async def stream(url: str, posts: list[Posted], progress: Callable[[], None], *, events: int, seconds: float) -> None:
    """Send `events` events (maybe one more) to `url` in about `seconds`; each is added to `posts`.

    Inferences start at an even pace, and each sends its events one after the other. `progress` is called after each
    answer.
    """

    async def infer(kinds: Sequence[Kind], number: int) -> None:
        """Send the events of one inference."""
        for kind in kinds:
            posts.append(await _send(session, url, kind, number))
            progress()

    clock = asyncio.get_running_loop().time
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        asyncio.TaskGroup() as inferences,
    ):
        begun, sent, number = clock(), 0, 0
        while sent < events:
            kinds = _ROUND[number % len(_ROUND)]
            inferences.create_task(infer(kinds, number))
            sent, number = sent + len(kinds), number + 1
            await asyncio.sleep(begun + sent * seconds / events - clock())


async def one_of_each(url: str) -> list[Posted]:
    """Send one event of each kind that EventGate takes."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        return [await _send(session, url, kind, number) for number, kind in enumerate(KINDS) if not kind.wrong]


async def _send(session: aiohttp.ClientSession, url: str, kind: Kind, number: int) -> Posted:
    """Send one event as Lift Wing does.

    Each has a new SSL context, although nothing is encrypted, which makes aiohttp open a connection for every event.
    Lift Wing's also reads the CA bundle each time, for about 20 ms, which is left out here.
    """
    event = kind.make(kind.stream, number)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    headers = {"Content-type": "application/json", "UserAgent": "WMF ML Team demo"}
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        async with session.post(url, ssl=context, json=event, headers=headers) as response:
            await response.text()
            status, reason, told = response.status, response.reason or "", response.headers.get(OUTCOME, "")
    except aiohttp.ClientResponseError as error:
        status, reason, told = error.status, error.message, error.headers.get(OUTCOME, "") if error.headers else ""
    except (aiohttp.ClientError, TimeoutError) as error:
        status, reason, told = 0, f"no answer: {type(error).__name__}: {error}", ""
    sent, seconds, outcome = json.dumps(event).encode(), clock() - begun, told.partition(";")[0]
    return Posted(kind, event["meta"]["id"], sent, status, reason, seconds, begun, outcome)
