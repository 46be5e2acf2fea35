"""Promises of the shipped `routes.yaml`, which is for Lift Wing, with the streams in use there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.events.event import parse
from sidecar.routes.inspection import inspect
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Decision, Router
from tests.jsontext import unhurried

SHIPPED = Path(__file__).parent.parent.parent / "routes.yaml"
REVISION_SCORE = "/mediawiki/revision/score/3.0.0"
CLASSIFICATION = "/mediawiki/page/prediction_classification_change/1.3.0"
WEIGHTED_TAGS = "/mediawiki/cirrussearch/page_weighted_tags_change/1.0.0"
STREAMS = {
    "mediawiki.revision_score_articlequality": REVISION_SCORE,
    "mediawiki.revision_score_articletopic": REVISION_SCORE,
    "mediawiki.revision_score_draftquality": REVISION_SCORE,
    "mediawiki.revision_score_drafttopic": REVISION_SCORE,
    "mediawiki.revision_score_damaging": REVISION_SCORE,
    "mediawiki.revision_score_goodfaith": REVISION_SCORE,
    "mediawiki.revision_score_reverted": REVISION_SCORE,
    "mediawiki.page_outlink_topic_prediction_change.v1": CLASSIFICATION,
    "mediawiki.page_revert_risk_prediction_change.v1": CLASSIFICATION,
    "mediawiki.page_revert_risk_multilingual_prediction_change.v1": CLASSIFICATION,
    "mediawiki.page_revert_risk_wikidata_prediction_change.v1": CLASSIFICATION,
    "mediawiki.article_country_prediction_change.v1": CLASSIFICATION,
    "mediawiki.cirrussearch.page_weighted_tags_change.v1": WEIGHTED_TAGS,
}
TEST_STREAMS = {
    "mediawiki.revision-score-test": REVISION_SCORE,
    "mediawiki.page_prediction_change.rc0": CLASSIFICATION,
}


def shipped(stream: str, env: str) -> Decision:
    """What the shipped routes make of an event of this stream from such a pod."""
    config = read(SHIPPED.read_text(encoding="utf-8"))
    value = {"$schema": {**STREAMS, **TEST_STREAMS}.get(stream, REVISION_SCORE), "meta": {"stream": stream}}
    (event,) = parse(json.dumps(value).encode())
    return Router(config, {"env": env, "isvc": "enwiki-damaging"}).decide(event)


@pytest.mark.parametrize("stream", STREAMS)
def test_staging_never_writes_into_a_production_stream(stream: str) -> None:
    """Events of staging pods go to a testing stream or stay in staging."""
    score = STREAMS[stream] == REVISION_SCORE
    assert shipped(stream, "staging") == Decision(
        "staging-scores-to-test-stream" if score else "staging",
        "production" if score else "staging",
        "mediawiki.revision-score-test" if score else None,
    )


def test_a_misspelt_score_keeps_its_name_in_staging() -> None:
    """EventGate refuses it there, as in production; renamed, it would be accepted until production."""
    assert shipped("mediawiki.revision_score_draftopic", "staging") == Decision("staging", "staging")


@pytest.mark.parametrize("stream", TEST_STREAMS)
def test_staging_keeps_a_testing_stream(stream: str) -> None:
    """A staging pod configured with a testing stream writes into it, as today."""
    assert shipped(stream, "staging") == Decision("staging-test-streams", "production")


@pytest.mark.parametrize("stream", [*STREAMS, *TEST_STREAMS])
def test_production_keeps_every_name(stream: str) -> None:
    """Events of production pods reach production under their own names."""
    assert shipped(stream, "production") == Decision("production", "production")


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("env", ["Production", "prod", "experimental", ""])
def test_a_pod_of_an_unknown_kind_sends_nothing(stream: str, env: str) -> None:
    """A pod with a misspelt label is refused, not guessed."""
    assert shipped(stream, env).upstream is None


@unhurried
@given(
    st.one_of(
        st.sampled_from([*STREAMS]),
        st.text(max_size=40),
        st.from_regex(r"mediawiki\.[a-z_.]+", fullmatch=True),
    )
)
def test_no_name_leads_from_staging_into_a_production_stream(stream: str) -> None:
    """Whatever the stream, production gets only the two testing streams from staging."""
    config = read(SHIPPED.read_text(encoding="utf-8"))
    (event,) = parse(json.dumps({"meta": {"stream": stream}}).encode())
    decision = Router(config, {"env": "staging"}).decide(event)
    assert decision.upstream != "production" or (decision.stream or stream) in TEST_STREAMS


def test_the_file_loads_and_its_own_tests_pass() -> None:
    """It is valid."""
    config = inspect(SHIPPED.read_text(encoding="utf-8"), SHIPPED.name).approved
    assert {test.event["meta"]["stream"] for test in config.tests} == {*STREAMS, *TEST_STREAMS}
