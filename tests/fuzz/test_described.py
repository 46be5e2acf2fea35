"""A running sidecar answers as its OpenAPI description says, to allowed requests and to others.

schemathesis creates the requests, both allowed and not, and checks the answers. They are few, and the same in every
run; `make api-test ARGS=--hypothesis-profile=long` sends more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from sidecar.events.results import BUG
from sidecar.status.http import description
from tests.end_to_end.conftest import written
from tests.end_to_end.processes import Emulator, Sidecar, ask, emulator, sidecar
from tests.fakes import refusing
from tests.running import upstream

LONG = settings.get_current_profile_name() == "long"
asked = settings(
    max_examples=2000 if LONG else 60,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
described = schemathesis.openapi.from_dict(description())
described.config.generation.update(modes=list(schemathesis.GenerationMode))
events = described.include(path="/v1/events")
inquiries = described.include(path_regex="^/_sidecar/").exclude(tag="goes on")
cluster = described.include(tag="cluster")

AS_EVENTGATE = [
    checks.unsupported_method,  # 404, as Express says it
    not_a_server_error,  # 500 for a body that is not JSON, and for events whose schema cannot be fetched
    checks.positive_data_acceptance,  # whether an event is valid depends on the schema that it names
]
HASTY = [checks.negative_data_rejection]
"""With `hasty`, EventGate accepts events before it validates them: all of an array, or some."""
WITHOUT_BODY = [checks.content_type_conformance, checks.response_schema_conformance]
"""Missing in a 400 to an empty array, as in EventGate's."""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run an emulated EventGate."""
    with emulator(tmp_path_factory.mktemp("eventgate")) as running:
        yield running


@pytest.fixture(scope="module")
def running(gate: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Run a sidecar that delivers, refuses, renames, and cannot reach one of its upstreams."""
    folder = tmp_path_factory.mktemp("sidecar")
    with refusing() as nowhere:
        config = {
            "version": 1,
            "upstreams": {"main": upstream(gate.address), "gone": upstream(nowhere)},
            "routes": [
                {"name": "refused", "match": {"event": {"meta.dt": "*0*"}}, "reject": "not today"},
                {"name": "lost", "match": {"event": {"meta.id": "*a*"}}, "to": "gone"},
                {"name": "renamed", "match": {"stream": "?*"}, "to": "main", "stream": "mediawiki.revision-score-test"},
                {"name": "others", "to": "main"},
            ],
        }
        with sidecar(written(config, folder)) as it:
            yield it
            assert [line for line in it.process.lines if "Unexpected" in json.dumps(line)] == []
            assert ask(it.admin, "GET", "/livez").status == 200


@events.parametrize()
@asked
def test_events_are_answered_as_described(case: schemathesis.Case, running: Sidecar) -> None:
    """Every status, header and body is described, and none reports a bug of the sidecar."""
    answer = case.call(base_url=f"http://{running.address}")
    excluded = AS_EVENTGATE + (HASTY if answer.status_code in (202, 207) else [])
    excluded += WITHOUT_BODY if answer.status_code == 400 and not answer.content else []
    case.validate_response(answer, excluded_checks=excluded)
    assert BUG not in answer.text


@inquiries.parametrize()
@asked
def test_inquiries_are_answered_as_described(case: schemathesis.Case, running: Sidecar) -> None:
    """Allowed requests are answered, others refused. Only the check of other methods is left out."""
    case.call_and_validate(base_url=f"http://{running.address}", excluded_checks=[checks.unsupported_method])


@cluster.parametrize()
@asked
def test_the_cluster_is_answered_as_described(case: schemathesis.Case, running: Sidecar) -> None:
    """Every check holds on the second listener."""
    case.call_and_validate(base_url=f"http://{running.admin}")
