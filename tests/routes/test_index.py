"""Promises of `index`: it finds every match that fits, and few others, however many there are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routes import audit, index
from sidecar.routes.index import Index, numbers
from sidecar.routes.language.config import Match
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router
from tests.anyroutes import LABELS, MATCHES, event_of
from tests.jsontext import unhurried

TEXTS = st.text("ab.", max_size=4)
GLOBS = st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]", "["]), min_size=1, max_size=5).map("".join)
REGEXES = st.sampled_from(["/a/", "/^a+b?$/", "/^.*b/", "/.*a|b/", "/^.*?a.*b/", "/(?i)A/"])
PATTERNS = st.one_of(GLOBS, REGEXES, st.lists(st.one_of(GLOBS, REGEXES), min_size=1, max_size=3))
STREAMS = st.lists(
    st.fixed_dictionaries({}, optional={"stream": PATTERNS, "schema": PATTERNS}), min_size=1, max_size=12
)


def fits(match: Match, values: dict[str, str | None]) -> bool:
    """Whether every pattern matches, looked at one by one."""
    found = {key: values.get(key) for key in match.patterns}
    return all(text is not None and match.patterns[key].groups_in(text) is not None for key, text in found.items())


@unhurried
@given(STREAMS, TEXTS, st.one_of(TEXTS, st.none()))
def test_no_match_that_fits_is_missed(written: list[dict[str, Any]], stream: str, schema: str | None) -> None:
    """For any key and any event."""
    matches = [Match.read(each) for each in written]
    known = Index(matches)
    candidates = set(numbers(known.fitting("stream", stream) & known.fitting("schema", schema)))
    assert {n for n, each in enumerate(matches) if fits(each, {"stream": stream, "schema": schema})} <= candidates


@unhurried
@given(st.lists(MATCHES, min_size=1, max_size=12))
def test_no_match_that_covers_or_meets_another_is_missed(written: list[dict[str, Any]]) -> None:
    """`audit` compares only matches that the index finds."""
    matches = [Match.read(each) for each in written]
    known, boxes = Index(matches), [each.patterns for each in matches]
    for box in boxes:
        wide = {n for n, each in enumerate(boxes) if audit._box_covers(each, box)}
        near = {n for n, each in enumerate(boxes) if not audit._boxes_disjoint(each, box)}
        assert wide <= set(numbers(known.covering(box)))
        assert near <= set(numbers(known.meeting(box)))


@unhurried
@given(
    st.lists(MATCHES, min_size=1, max_size=12), LABELS, TEXTS, st.one_of(st.none(), TEXTS), st.one_of(st.none(), TEXTS)
)
def test_the_index_and_the_plain_loop_decide_alike(
    written: list[dict[str, Any]], labels: dict[str, str], stream: str, schema: str | None, wiki: str | None
) -> None:
    """For any routes, pod and event, even when the decision may be cached."""
    routes = [{"name": f"r{n}", "match": each, "to": "u"} for n, each in enumerate(written)]
    file = {"version": 1, "upstreams": {"u": {"url": "http://u/v1/events"}}, "routes": routes}
    event = event_of({"$schema": schema, "meta": {"stream": stream}, "page": {"wiki": wiki}})
    router = Router(read(json.dumps(file)), labels)
    values = {"stream": stream, "schema": schema, "event.page.wiki": "null" if wiki is None else wiki}
    values |= {f"labels.{name}": value for name, value in labels.items()}
    first = next((each.name for each in router.config.routes if fits(each.match, values)), "")
    assert [router.decide(event).route, router.decide(event).route] == [first, first]


@pytest.mark.parametrize(
    "written",
    [
        {"stream": "score.{}"},
        {"stream": "{}.*"},
        {"stream": "*.{}"},
        {"stream": "mediawiki.*.{}"},
        {"stream": "*.{}.*"},
        {"stream": "/^mediawiki\\.{}\\./"},
        {"stream": "/^.*{}_score/"},
        {"stream": ["a.{}", "/{}$/", "*b.{}"]},
        {"stream": "*", "schema": "/x/{}/*"},
        {"stream": "*", "event": {"database": "{}wiki"}},
        {"stream": "*", "labels": {"isvc": "model-{}"}},
    ],
    ids=str,
)
def test_few_of_a_thousand_matches_have_to_be_compared(written: dict[str, Any]) -> None:
    """A thousand routes cost an event no more comparisons than one."""
    texts = [f"n{n:03}" for n in range(1000)]
    known = Index([Match.read(json.loads(json.dumps(written).replace("{}", text))) for text in texts])
    box = Match.read(json.loads(json.dumps(written).replace("{}", "n123"))).patterns
    events = {
        "stream": [
            form.format("n123") for form in ("score.{}", "{}.x", "x.{}", "mediawiki.x.{}", "mediawiki.{}.x", "{}_score")
        ],
        "schema": ["/x/n123/1"],
        "event.database": ["n123wiki"],
    }
    found = known.of_pod({"isvc": "model-n123"})
    for key in box.keys() & events.keys():
        found &= max((known.fitting(key, value) for value in events[key]), key=int.bit_count)
    assert list(numbers(found)) == [123]
    assert list(numbers(known.covering(box))) == [123]


def test_expressions_that_are_too_large_together_are_compared_one_by_one() -> None:
    """RE2 takes each of them, but not all at once; none is left out."""
    large = [Match.read({"stream": f"/([a-z]{{1,200}}x{n}){{1,3}}/"}) for n in range(index.MAX_SEARCHED)]
    known = Index([*large, *(Match.read({"stream": f"/^b{n}$/"}) for n in range(100))])
    assert known.fitting("stream", "b7") == (1 << index.MAX_SEARCHED) - 1 | 1 << index.MAX_SEARCHED + 7
