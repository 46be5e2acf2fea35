"""From the model server to the right EventGate: which events arrive, where, and under which name."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.conftest import written
from tests.end_to_end.processes import Emulator, Sidecar, ask, emulator, sidecar
from tests.running import upstream

JSON = {"content-type": "application/json"}
SCORES = "mediawiki.revision_score_drafttopic"
LINKS = "mediawiki.page_outlink_topic_prediction_change.v1"
BODY = rb'"\u00e9\/"'
"""What stands in an event, written as no JSON library would write it."""


@dataclass(frozen=True)
class Wikimedia:
    """Production and two staging datacenters behind a sidecar in a staging pod."""

    production: Emulator
    eqiad: Emulator
    codfw: Emulator
    sidecar: Sidecar

    def post(self, body: bytes, **headers: str) -> tuple[int, str]:
        """POST; return status and reason."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        seen = ask(self.sidecar.address, "POST", "/v1/events", body, JSON | named)
        return seen.status, seen.reason


Emulators = tuple[Emulator, Emulator, Emulator]
"""Production, and two staging datacenters."""


@pytest.fixture(scope="module")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Run production and two staging datacenters."""
    folder = tmp_path_factory.mktemp("emulators")
    with (
        emulator(folder, "production", topic_prefix="eqiad.") as production,
        emulator(folder, "eqiad", topic_prefix="staging.") as eqiad,
    ):
        beside = eqiad.address.replace("127.0.0.1", "127.0.0.2")
        with emulator(folder, "codfw", beside, topic_prefix="staging.") as codfw:
            yield production, eqiad, codfw


@pytest.fixture(scope="module")
def shared(emulators: Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wikimedia]:
    """Run a sidecar before them."""
    with running_before(emulators, tmp_path_factory.mktemp("routes")) as wikimedia:
        yield wikimedia


@pytest.fixture
def wikimedia(shared: Wikimedia, emulators: Emulators) -> Wikimedia:
    """Return it all, with nothing kept; for tests in which nothing goes wrong."""
    for each in emulators:
        each.forget()
    return shared


@pytest.fixture
def own(emulators: Emulators, tmp_path: Path) -> Iterator[Wikimedia]:
    """Run a sidecar of the test's own before them, with nothing kept."""
    for each in emulators:
        each.forget()
    with running_before(emulators, tmp_path) as wikimedia:
        yield wikimedia


@contextlib.contextmanager
def running_before(emulators: Emulators, folder: Path) -> Iterator[Wikimedia]:
    """Run a sidecar; its routes.yaml is the shipped one in small."""
    production, eqiad, codfw = emulators
    scores = {"labels": {"env": "staging"}, "stream": "mediawiki.revision_score_*"}
    test_stream = "mediawiki.revision-score-test"
    config = {
        "version": 1,
        "upstreams": {
            "production": upstream(production.address, accepts=[{"stream": "*-test"}]),
            "staging": upstream(eqiad.address, codfw.address),
        },
        "routes": [
            {"name": "scores", "match": scores, "to": "production", "stream": test_stream},
            {"name": "links", "match": {"stream": LINKS}, "to": "staging"},
            # With a regular expression: of the name alone `check` would see that production never accepts it.
            {"name": "live", "match": {"stream": ["live", "/^live$/"]}, "to": "production"},
        ],
    }
    with sidecar(written(config, folder), env={"SIDECAR_LABELS": "env=staging"}) as running:
        yield Wikimedia(production, eqiad, codfw, running)


def an_event(stream: str, more: str = "") -> bytes:
    """Return an event that every EventGate takes, written as no JSON library would write it."""
    meta = b'{ "stream" : "%b",\t"dt":"2026-11-22T00:00:00Z"%b }' % (stream.encode(), more.encode())
    return b'{ "test" : ' + BODY + b' , "$schema":"/test/event/1.0.0",\t"meta":' + meta + b"  }"


def test_a_score_arrives_in_the_test_stream_of_production(wikimedia: Wikimedia) -> None:
    """Only `meta.stream` and the missing `meta.id` differ; the relevant headers arrive too."""
    headers = {"x_request_id": "r-1", "traceparent": "00-abc-def-01", "user_agent": "drafttopic/1"}
    assert wikimedia.post(an_event(SCORES), **headers) == (201, "All 1 out of 1 events were accepted.")
    (kept,) = wikimedia.production.kept
    found = re.search(r'"id":"([0-9a-f-]{36})",', kept["raw"])
    assert found is not None
    assert kept["raw"].replace(found[0], "").encode() == an_event("mediawiki.revision-score-test")
    assert kept["topic"] == "eqiad.mediawiki.revision-score-test"
    assert kept["headers"] == {
        "x-request-id": "r-1",
        "traceparent": "00-abc-def-01",
        "user-agent": "drafttopic/1",
    }


def test_an_outlink_arrives_in_staging_unchanged(wikimedia: Wikimedia) -> None:
    """If no route renames it and it has an id, every byte is the same; the Kafka topic is staging's."""
    event = an_event(LINKS, ', "id":"11111111-1111-4111-8111-111111111111"')
    assert wikimedia.post(event)[0] == 201
    (kept,) = wikimedia.eqiad.kept
    assert (kept["raw"].encode(), kept["topic"]) == (event, f"staging.{LINKS}")
    assert (wikimedia.production.kept, wikimedia.codfw.kept) == ([], [])


def test_an_array_is_split_and_answered_as_one(wikimedia: Wikimedia) -> None:
    """Two upstreams, an invalid event, one without a route, one not accepted: one answer."""
    ids = [f"{number}1111111-1111-4111-8111-111111111111" for number in range(5)]
    streams = [LINKS, SCORES, SCORES, "unheard-of", "live"]
    events = [an_event(stream, f', "id":"{id_}"') for stream, id_ in zip(streams, ids, strict=True)]
    events[2] = events[2].replace(BODY, b"17")
    seen = ask(wikimedia.sidecar.address, "POST", "/v1/events", b"[" + b", ".join(events) + b"]", JSON)
    assert (seen.status, seen.reason) == (
        207,
        "2 out of 5 events were accepted, but 3 failed (3 invalid and 0 errored).",
    )
    assert [each["event"]["meta"]["id"] for each in seen.json["invalid"]] == ids[2:]
    assert [each["context"]["errorsText"].partition(" ")[0] for each in seen.json["invalid"]] == [
        "'.test'",
        "'.meta.stream'",
        "'.meta.stream'",
    ]
    assert [kept["event"]["meta"]["id"] for kept in wikimedia.eqiad.kept] == ids[:1]
    assert [kept["event"]["meta"]["id"] for kept in wikimedia.production.kept] == ids[1:2]


@pytest.mark.parametrize("fault", ["freeze", "refuse", "reset"])
def test_when_one_datacenter_fails_nobody_notices(own: Wikimedia, fault: str) -> None:
    """However eqiad fails, every event is answered 201 and arrives in codfw."""
    own.eqiad.fault(fault)
    ids = [f"{number:08}-1111-4111-8111-111111111111" for number in range(20)]
    answers = [own.post(an_event(LINKS, f', "id":"{id_}"'))[0] for id_ in ids]
    assert answers == [201] * 20
    arrived = {kept["event"]["meta"]["id"] for kept in own.codfw.kept}
    assert arrived == set(ids)


def test_with_both_datacenters_gone_the_producer_is_told(own: Wikimedia) -> None:
    """503 with Retry-After in EventGate's format; once they are back, events are taken again."""
    own.eqiad.fault("refuse")
    own.codfw.fault("refuse")
    seen = ask(own.sidecar.address, "POST", "/v1/events", an_event(LINKS), JSON)
    reason = "1 out of 1 events had failures and were not accepted. (0 invalid and 1 errored)."
    assert (seen.status, seen.reason, seen.headers["retry-after"]) == (503, reason, "1")
    assert json.loads(seen.body)["error"][0]["context"]["message"].startswith("not accepted by staging: ")
    assert own.post(an_event(SCORES))[0] == 201


def test_every_event_is_counted_where_it_ended(own: Wikimedia) -> None:
    """For each stream received equals the sum of outcomes; a stream that routes.yaml does not name is `_other`."""
    for stream in [LINKS] * 3 + ["live"] + [SCORES] * 2:
        own.post(an_event(stream))
    counted = own.sidecar.metrics("eventgate_sidecar_events_total")
    assert {labels: count for labels, count in counted.items() if count} == {
        ("delivered", LINKS): 3.0,
        ("refused", "live"): 1.0,
        ("delivered", "_other"): 2.0,
    }


def test_no_event_is_written_to_the_log(own: Wikimedia) -> None:
    """Whatever its outcome, no event content is in the log."""
    marker = "Zq7MARKERq7Z"
    for stream in (LINKS, SCORES, "live", "unheard-of"):
        event = an_event(stream, f', "id":"{marker}"').replace(BODY, f'"{marker}"'.encode())
        own.post(event)
        own.post(event.replace(b'"test" : ', b'"test" : 17, "%b" : ' % marker.encode()))
        own.post(event[:-1] + f' "{marker}'.encode())
    own.eqiad.fault("unavailable")
    own.codfw.fault("unavailable")
    own.post(an_event(LINKS, f', "id":"{marker}"'))
    assert marker not in json.dumps(own.sidecar.process.lines)
