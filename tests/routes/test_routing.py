"""Promises of `routing`: the first route that matches decides, and what must not happen does not.

In the tables the route that must win sends to `expected`, every other one to `other`.
"""

from __future__ import annotations

import fnmatch
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.events.event import Event, parse
from sidecar.events.outgoing import Copy
from sidecar.routes.index import Index
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Decision, Mismatch, Router, fitting
from tests.jsontext import Json, unhurried

STAGING = {"env": "staging", "isvc": "enwiki-damaging"}
SCORE = {
    "$schema": "/mediawiki/revision/score/3.0.0",
    "meta": {"stream": "mediawiki.revision_score_damaging", "id": "1"},
    "database": "enwiki",
    "rev_id": 42,
    "page": {"is_redirect": False, "title": "Zoë", "namespace": None, "tags": ["a"]},
}
UPSTREAMS = """\
version: 1
upstreams:
  expected: {url: "http://expected.wmnet/v1/events", accepts: ACCEPTS}
  other: {url: "http://other.wmnet/v1/events"}
  twin: {url: "http://other.wmnet/v1/events"}
routes:
"""


def router(routes: str, labels: dict[str, str] | None = None, accepts: str = "[{}]") -> Router:
    """A router with these routes, one in a line; `accepts` is what `expected` says of itself."""
    lines = "".join(f"  - {{{line.strip()}}}\n" for line in routes.strip().splitlines())
    return Router(read(UPSTREAMS.replace("ACCEPTS", accepts) + lines), STAGING if labels is None else labels)


def event(value: Json = SCORE) -> Event:
    """The one event that `value` is."""
    return parse(json.dumps([value]).encode())[0]


def stream_event(stream: str) -> Event:
    """An event of this stream."""
    return event({"meta": {"stream": stream}})


# --- which route wins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "routes",
    [
        pytest.param(
            """name: a, to: expected
               name: b, to: other""",
            id="the first of two that match",
        ),
        pytest.param(
            """name: a, to: other, match: {labels: {env: production}}
               name: b, to: expected, match: {labels: {env: staging}}""",
            id="by a label",
        ),
        pytest.param(
            """name: a, to: other, match: {labels: {env: staging, isvc: other}}
               name: b, to: expected, match: {labels: {env: staging, isvc: "enwiki-*"}}""",
            id="by all labels given",
        ),
        pytest.param(
            """name: a, to: other, match: {labels: {canary: "*"}}
               name: b, to: expected""",
            id="a label the pod does not have never matches",
        ),
        pytest.param(
            """name: a, to: other, match: {stream: mediawiki.revision_score}
               name: b, to: expected, match: {stream: mediawiki.revision_score_damaging}""",
            id="by the stream, letter for letter",
        ),
        pytest.param(
            """name: a, to: other, match: {stream: "*.revision-score-*"}
               name: b, to: expected, match: {stream: "mediawiki.revision_score_*"}""",
            id="by a glob",
        ),
        pytest.param(
            """name: a, to: other, match: {stream: "/^revision_score/"}
               name: b, to: expected, match: {stream: "/revision_score_(damaging|goodfaith)$/"}""",
            id="by a regular expression",
        ),
        pytest.param(
            """name: a, to: other, match: {stream: [a, "b*", "/^c/"]}
               name: b, to: expected, match: {stream: [a, "b*", "/^mediawiki/"]}""",
            id="by any of a list",
        ),
        pytest.param(
            """name: a, to: other, match: {schema: "/mediawiki/revision/score/2.*"}
               name: b, to: expected, match: {schema: "/mediawiki/revision/score/3.*"}""",
            id="by the schema",
        ),
        pytest.param(
            """name: a, to: other, match: {event: {database: dewiki}}
               name: b, to: expected, match: {event: {database: enwiki, page.title: Zoë}}""",
            id="by texts in the event",
        ),
        pytest.param(
            """name: a, to: other, match: {event: {rev_id: "42.0"}}
               name: b, to: expected, match: {event: {rev_id: "42", page.is_redirect: "false"}}""",
            id="by other scalars, as they are written",
        ),
        pytest.param(
            """name: a, to: other, match: {event: {page: "*"}}
               name: b, to: other, match: {event: {page.tags: "*"}}
               name: c, to: other, match: {event: {page.id: "*"}}
               name: d, to: expected, match: {event: {page.namespace: "null"}}""",
            id="an object, an array and nothing never match, null does",
        ),
        pytest.param(
            """name: a, to: other, match: {labels: {env: "*"}, stream: "*", schema: "*", event: {rev_id: "7"}}
               name: b, to: other, match: {labels: {env: x}, stream: "*", schema: "*", event: {rev_id: "42"}}
               name: c, to: other, match: {labels: {env: "*"}, stream: x, schema: "*", event: {rev_id: "42"}}
               name: d, to: other, match: {labels: {env: "*"}, stream: "*", schema: x, event: {rev_id: "42"}}
               name: e, to: expected, match: {labels: {env: "*"}, stream: "*", schema: "*"}""",
            id="only where every key matches",
        ),
    ],
)
def test_the_marked_route_wins(routes: str) -> None:
    """The first route whose every key matches takes the event, whatever the others are."""
    assert router(routes).decide(event()).upstream == "expected"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="nothing in it"),
        pytest.param({"meta": {}}, id="no stream"),
        pytest.param({"meta": [], "$schema": {}}, id="a meta that is no object"),
        pytest.param(7, id="no object"),
        pytest.param(None, id="null"),
    ],
)
def test_an_event_without_values_matches_only_labels(value: Json) -> None:
    """No pattern matches a missing value."""
    routes = """name: a, to: other, match: {stream: "*"}
                name: b, to: other, match: {schema: "*"}
                name: c, to: other, match: {event: {meta.stream: "*", $schema: "*"}}
                name: d, to: expected, match: {labels: {env: staging}}, stream: made-up"""
    assert router(routes).decide(event(value)) == Decision("d", "expected")


# --- the new name -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "stream", "new"),
    [
        pytest.param("", "a.b", None, id="no template"),
        pytest.param("stream: x.test", "a.b", "x.test", id="a fixed name"),
        pytest.param("stream: a.b", "a.b", None, id="the name it has"),
        pytest.param('stream: "{stream}.rc0"', "a.b", "a.b.rc0", id="the name that came"),
        pytest.param('stream: "{labels.env}.{stream}"', "a.b", "staging.a.b", id="a label"),
        pytest.param('stream: "{2}-{1}", match: {stream: "/^(.)\\\\.(.)$/"}', "a.b", "b-a", id="numbered groups"),
        pytest.param(
            'stream: "test.{model}", match: {stream: "/_score_(?P<model>[a-z]+)/"}',
            "mediawiki.revision_score_damaging",
            "test.damaging",
            id="a named group",
        ),
        pytest.param(
            'stream: "{1}.test", match: {stream: ["/^x(.)/", "/^(.)/"]}',
            "a.b",
            "a.test",
            id="groups in a list",
        ),
        pytest.param(
            'stream: "{stream}.{1}", match: {stream: "/(?P<stream>b)/"}',
            "a.b",
            "a.b.b",
            id="a group that is called stream",
        ),
    ],
)
def test_a_stream_gets_its_new_name(route: str, stream: str, new: str | None) -> None:
    """From the old one, labels and groups; None means that the bytes stay."""
    found = router(f"name: a, to: expected{', ' if route else ''}{route}").decide(stream_event(stream))
    assert found == Decision("a", "expected", new)


# --- what is refused ----------------------------------------------------------------------------------------


POD = "env=staging, isvc=enwiki-damaging"
ASK = "post to a stream that has a route, or ask for one"


@pytest.mark.parametrize(
    ("routes", "stream", "decision"),
    [
        pytest.param(
            "name: a, to: other, match: {stream: b}",
            "c",
            Decision("", refusal=f"no route in routes.yaml takes stream c from {POD}; {ASK}"),
            id="no route",
        ),
        pytest.param(
            "name: a, to: other, match: {stream: b}",
            None,
            Decision("", refusal=f"no route in routes.yaml takes an event without meta.stream from {POD}; {ASK}"),
            id="no route, no stream",
        ),
        pytest.param(
            """name: a, reject: "use b instead", match: {stream: c}
               name: b, to: expected""",
            "c",
            Decision("a", refusal="route a refuses it: use b instead"),
            id="a route that rejects",
        ),
        pytest.param(
            'name: a, to: expected, stream: "{stream}.test"',
            "c d",
            Decision("a", refusal="route a would rename its stream to 'c d.test', which is not a valid stream name"),
            id="a new name that is none",
        ),
        pytest.param(
            'name: a, to: expected, stream: "{stream}-{labels.model}"',
            "c",
            Decision("a", refusal=f"route a uses label model, which {POD} does not have"),
            id="a label that is not there",
        ),
    ],
)
def test_a_refusal_says_what_to_do(routes: str, stream: str | None, decision: Decision) -> None:
    """It has the route's name and what the producer can do."""
    assert router(routes).decide(stream_event(stream) if stream else event({})) == decision


def test_an_ambiguous_event_is_refused() -> None:
    """Even by a route that takes everything, if its stream can be read in two ways."""
    routing = router("name: a, to: expected")
    (unclear,) = parse(b'{"meta":{"stream":"s"},"meta.stream":"t"}')
    decision = routing.decide(unclear)
    assert decision.upstream is None
    assert decision.refusal is not None
    assert 'a key "meta.stream"' in decision.refusal
    assert routing.explain(unclear) == ((), decision)
    assert routing.arrival(unclear) is None


def test_an_upstream_without_accepts_accepts_everything() -> None:
    """Only the routes decide."""
    assert router("name: a, to: other").decide(stream_event("c")) == Decision("a", "other")


@pytest.mark.parametrize(
    ("accepts", "stream", "accepted"),
    [
        pytest.param("[{labels: {env: staging}}]", "c", True, id="by a label"),
        pytest.param("[{labels: {env: production}}]", "c", False, id="not by another"),
        pytest.param("[{labels: {env: production}}, {stream: c}]", "c", True, id="any entry will do"),
        pytest.param("[{labels: {env: production}, stream: c}]", "c", False, id="all of an entry must"),
        pytest.param("[{stream: new.c}]", "c.old", True, id="the new name is what is accepted"),
        pytest.param("[{stream: c.old}]", "c.old", False, id="and not the old one"),
        pytest.param('[{event: {meta.stream: "c.*"}}]', "c.old", True, id="what else is in the event stays"),
    ],
)
def test_an_upstream_gets_only_what_it_accepts(accepts: str, stream: str, accepted: bool) -> None:
    """Whatever the routes say; compared after renaming."""
    routes = """name: rename, to: expected, match: {stream: c.old}, stream: new.c
                name: keep, to: expected"""
    decider = router(routes, accepts=accepts)
    decision = decider.decide(stream_event(stream))
    route, final = ("rename", "new.c") if stream == "c.old" else ("keep", stream)
    refused = Decision(
        route,
        refusal=f"route {route} sends it to expected, which does not accept stream {final} "
        f"from {POD}; see upstreams.expected.accepts in routes.yaml",
    )
    sent = Decision(route, "expected", final if route == "rename" else None)
    assert decision == (sent if accepted else refused)
    assert decider.accepts("expected", final, stream_event(stream)) is accepted


@pytest.mark.parametrize(
    ("match", "accepts", "lacking"),
    [
        pytest.param("{event: {database: enwiki}}", "[{}]", "event.database", id="a value in the event"),
        pytest.param("{schema: a}", "[{}]", "schema", id="its schema"),
        pytest.param("{stream: d, schema: a}", "[{}]", None, id="not for a route of another stream"),
        pytest.param("{labels: {env: x}, schema: a}", "[{}]", None, id="not for a route of another pod"),
        pytest.param("{event: {meta.stream: d}}", "[{}]", None, id="a value that differs"),
        pytest.param("{stream: d}", "[{event: {database: enwiki}}]", "event.database", id="for the upstream"),
        pytest.param("{stream: d}", "[{stream: d}]", None, id="the upstream takes no such stream"),
    ],
)
def test_what_an_event_lacks_to_be_decided_is_known(match: str, accepts: str, lacking: str | None) -> None:
    """By the first route that needs it, or by the upstream of the one that takes it."""
    routes = f"""name: a, to: other, match: {match}
                 name: b, to: expected"""
    assert router(routes, accepts=accepts).lacks(stream_event("c")) == lacking


def test_the_matches_that_fit_an_event_are_known_whatever_the_pod() -> None:
    """By stream, schema and contents."""
    matches = [
        route.match
        for route in router(
            """name: a, to: other, match: {labels: {env: x}, event: {database: enwiki}}
               name: b, to: other, match: {event: {database: dewiki}}
               name: c, to: other, match: {stream: c, event: {database: "*"}}
               name: d, to: other, match: {schema: "/mediawiki/*"}
               name: e, to: other, match: {stream: "*"}"""
        ).config.routes
    ]
    assert fitting(matches, Index(matches), event()) == (0, 3, 4)


def test_a_pod_without_labels_is_told_so() -> None:
    """A refusal names the pod's labels, or says that there are none."""
    decision = router("name: a, to: other, match: {labels: {env: x}}", labels={}).decide(stream_event("c"))
    assert decision.refusal == f"no route in routes.yaml takes stream c from a pod without labels; {ASK}"


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\xff"', b'"a\\u0000\\n"'], ids=repr)
def test_a_stream_of_any_characters_is_matched(text: bytes) -> None:
    """And can be quoted in an answer."""
    (odd,) = parse(b'{"meta":{"stream":%b}}' % text)
    found = router("""name: a, to: other, match: {stream: [a, "/b$/"]}""").decide(odd)
    assert (found.refusal or "").encode().startswith(b"no route in routes.yaml takes stream ")


def test_labels_that_a_template_needs_are_known_beforehand() -> None:
    """Before any event, missing labels of this pod are known."""
    found = router(
        """name: a, to: other, stream: "{labels.model}.{labels.isvc}.{labels.at}"
           name: b, to: other, stream: "{labels.model}", match: {labels: {env: production}}
           name: c, to: other, mirror: {to: expected, stream: "{labels.at}"}"""
    ).missing_labels
    assert [(route.name, *key, label) for route, key, label in found] == [
        ("a", "stream", "at"),
        ("a", "stream", "model"),
        ("c", "mirror", "stream", "at"),
    ]


# --- mirror -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mirror", "accepts", "stream", "refusal"),
    [
        pytest.param("to: expected", "[{}]", "score_a", None, id="the name with which it came"),
        pytest.param('to: expected, stream: "{1}.copy"', "[{stream: a.copy}]", "a.copy", None, id="renamed"),
        pytest.param(
            "to: expected",
            "[{labels: {env: production}}, {stream: test}]",
            "score_a",
            "expected does not accept stream score_a from env=staging, isvc=enwiki-damaging",
            id="not accepted",
        ),
        pytest.param("to: other", "[{}]", "score_a", None, id="the same EventGate, another name"),
        pytest.param(
            "to: twin, stream: test",
            "[{}]",
            "test",
            "twin is the EventGate that the event itself is sent to, under the same name",
            id="doubled",
        ),
        pytest.param(
            'to: expected, stream: "{labels.at}"',
            "[{}]",
            "score_a",
            "it takes its name from label at, which env=staging, isvc=enwiki-damaging does not have",
            id="a label is missing",
        ),
        pytest.param(
            'to: expected, stream: "{2}.copy"',
            "[{}]",
            ".copy",
            "'.copy' is not a valid stream name",
            id="no name",
        ),
    ],
)
def test_a_copy_goes_where_accepts_lets_it(mirror: str, accepts: str, stream: str, refusal: str | None) -> None:
    """With the stream it would have there; and never twice to one EventGate under one name."""
    route = f'name: a, match: {{stream: "/^score_([a-z]*)(_?)/"}}, to: other, stream: test, mirror: {{{mirror}}}'
    found = router(route, accepts=accepts).decide(stream_event("score_a"))
    assert (found.upstream, found.stream) == ("other", "test")
    assert found.copy == Copy("a", mirror.partition(",")[0].removeprefix("to: "), stream, 100, refusal)


def test_an_upstream_that_gets_copies_is_not_one_that_gets_events() -> None:
    """Routes of other pods do not count for this pod."""
    found = router(
        """name: a, to: other, mirror: {to: expected}, match: {labels: {env: staging}}
           name: b, to: expected, mirror: {to: other}, match: {labels: {env: production}}"""
    )
    assert (found.reachable, found.mirrored_to) == ({"other"}, {"expected"})


# --- explain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "mismatch", "words"),
    [
        pytest.param(
            "labels: {env: production}",
            Mismatch("labels.env", "production", "staging"),
            "labels.env should match production, but it is staging",
            id="a label",
        ),
        pytest.param(
            "labels: {canary: a}",
            Mismatch("labels.canary", "a", None),
            "labels.canary should match a, but there is none",
            id="no label",
        ),
        pytest.param(
            'stream: [a, "b*"]',
            Mismatch("stream", "[a, b*]", "mediawiki.revision_score_damaging"),
            "stream should match [a, b*], but it is mediawiki.revision_score_damaging",
            id="the stream",
        ),
        pytest.param(
            "schema: /x/",
            Mismatch("schema", "/x/", "/mediawiki/revision/score/3.0.0"),
            "schema should match /x/, but it is /mediawiki/revision/score/3.0.0",
            id="the schema",
        ),
        pytest.param(
            "event: {database: enwiki, page.tags: a}",
            Mismatch("event.page.tags", "a", None),
            "event.page.tags should match a, but there is none",
            id="the event",
        ),
    ],
)
def test_a_mismatch_says_what_was_wanted_and_found(match: str, mismatch: Mismatch, words: str) -> None:
    """The first key that does not match, as in the file, with the value found."""
    steps, decision = router(f"name: a, to: other, match: {{{match}}}\n name: b, to: expected").explain(event())
    assert [(step.route.name, step.mismatch) for step in steps] == [("a", mismatch), ("b", None)]
    assert decision == Decision("b", "expected")
    assert str(mismatch) == words


names = st.sampled_from(["a", "b", "ab", "a*", "?", "[ab]b", "*"])
matches = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from(["env", "isvc"]), names, max_size=2),
        "stream": names,
        "schema": names,
        "event": st.dictionaries(st.sampled_from(["x", "y.z"]), names, max_size=2),
    },
)
words = st.sampled_from(["a", "b", "ab", "c"])
some_events = st.fixed_dictionaries(
    {},
    optional={
        "$schema": words,
        "meta": st.fixed_dictionaries({}, optional={"stream": words}),
        "x": words,
        "y": st.fixed_dictionaries({}, optional={"z": words}),
    },
)


def matched(match: Json, labels: dict[str, str], value: Json) -> bool:
    """Whether all of `match` fits, said once more in the plainest way."""
    pairs = [(pattern, labels.get(name)) for name, pattern in match.get("labels", {}).items()]
    pairs += [
        (match[key], found)
        for key, found in (("stream", value.get("meta", {}).get("stream")), ("schema", value.get("$schema")))
        if key in match
    ]
    at = {"x": value.get("x"), "y.z": value.get("y", {}).get("z")}
    pairs += [(pattern, at[path]) for path, pattern in match.get("event", {}).items()]
    return all(found is not None and fnmatch.fnmatchcase(found, pattern) for pattern, found in pairs)


@unhurried
@given(
    st.lists(matches, min_size=1, max_size=4),
    st.lists(matches, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["env", "isvc"]), words),
    some_events,
)
def test_explain_and_decide_agree(routes: list[Json], accepts: list[Json], labels: dict[str, str], value: Json) -> None:
    """`explain` shows what happens, and both follow the file."""
    text = "\n".join(f"name: r{index}, to: expected, match: {json.dumps(each)}" for index, each in enumerate(routes))
    found = router(text, labels, json.dumps(accepts))
    steps, decision = found.explain(event(value))
    winner = next((index for index, match in enumerate(routes) if matched(match, labels, value)), None)
    assert decision == found.decide(event(value))
    assert [step.mismatch is None for step in steps] == (
        [False] * len(routes) if winner is None else [False] * winner + [True]
    )
    assert decision.route == ("" if winner is None else f"r{winner}")
    sent = winner is not None and any(matched(entry, labels, value) for entry in accepts)
    assert decision.upstream == ("expected" if sent else None)
    assert (decision.refusal is None) is sent


def test_it_knows_the_upstreams_of_its_pod() -> None:
    """An upstream without a route from this pod does not matter there."""
    routes = "name: a, match: {labels: {env: staging}, stream: x}, to: other"
    assert router(routes, {"env": "staging"}).reachable == {"other"}
    assert router(routes, {"env": "production"}).reachable == set()


@pytest.mark.parametrize("order", [("dewiki", "enwiki"), ("enwiki", "dewiki")], ids="then".join)
@pytest.mark.parametrize("rules", ["a route", "accepts"])
def test_a_decision_by_contents_is_not_cached(order: tuple[str, str], rules: str) -> None:
    """Events with equal stream and schema that differ in a field are routed separately."""
    if rules == "a route":
        found = router("name: a, to: expected, match: {event: {database: dewiki}}\nname: b, to: other")
    else:
        found = router("name: a, to: expected", accepts="[{event: {database: dewiki}}]")
    elsewhere = "other" if rules == "a route" else None
    wanted = {"dewiki": "expected", "enwiki": elsewhere}
    decided = {database: found.decide(event({**SCORE, "database": database})).upstream for database in order}
    assert decided == wanted


def test_a_stream_that_cannot_be_renamed_arrives_nowhere() -> None:
    """It is not compared with `accepts`."""
    found = router('name: a, to: expected, stream: "{labels.team}.{stream}"', {})
    assert found.decide(stream_event("s")).refusal is not None
    assert found.arrival(stream_event("s")) is None


def test_an_event_arrives_under_its_own_name_or_its_new_one() -> None:
    """`accepts` is compared with that name."""
    for stream, name in (("", "s"), (', stream: "{stream}.rc0"', "s.rc0")):
        arrival = router(f"name: a, to: expected{stream}").arrival(stream_event("s"))
        assert arrival is not None
        assert (arrival.upstream, arrival.stream) == ("expected", name)


@pytest.mark.parametrize("acknowledge", ["spooled", "delivered"])
def test_a_route_may_acknowledge_what_is_stored(acknowledge: str) -> None:
    """Its producer does not wait for EventGate."""
    found = router(f"name: a, to: expected, acknowledge: {acknowledge}").decide(event())
    assert found.spool_first is (acknowledge == "spooled")
