"""Promises of `http`: everything is described in openapi.yaml, and nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.routing import Route

from sidecar import __version__, errors
from sidecar.errors import MalformedRequest, NotFound, RequestError
from sidecar.events.results import SUCCESS, Outcome, failed, refused
from sidecar.intake.answer import merge
from sidecar.status import value as status
from sidecar.status.cluster import PATHS
from sidecar.status.http import description, openapi_route
from tests.fakes import FakeEventGate, eventually
from tests.running import Running, sidecar, to_one

DESCRIBED = description()
SCORE = b'{"meta":{"stream":"s"}}'
STRANGER = {"host": "evil.example"}

CASES: dict[tuple[str, str, int], dict[str, Any]] = {
    **{("get", path, 307): {} for path in ("/", "/_sidecar", "/_sidecar/")},
    **{("get", path, 403): {"headers": STRANGER} for path in ("/", "/_sidecar", "/_sidecar/")},
    ("get", "/_sidecar/probe", 200): {},
    ("get", "/_sidecar/probe", 403): {"headers": STRANGER},
    ("get", "/_sidecar/runbook", 200): {},
    ("get", "/_sidecar/runbook", 403): {"headers": STRANGER},
    ("get", "/_sidecar/status", 200): {},
    ("get", "/_sidecar/status", 403): {"headers": STRANGER},
    ("get", "/_sidecar/status.json", 200): {},
    ("get", "/_sidecar/status.json", 403): {"headers": STRANGER},
    ("get", "/_sidecar/config", 200): {},
    ("get", "/_sidecar/config", 403): {"headers": STRANGER},
    ("post", "/_sidecar/explain", 200): {"content": SCORE},
    ("post", "/_sidecar/explain", 400): {"content": b"[]"},
    ("post", "/_sidecar/explain", 403): {"headers": STRANGER, "content": SCORE},
    ("get", "/_sidecar/status/live", 200): {},
    ("get", "/_sidecar/status/live", 403): {"headers": STRANGER},
    ("get", "/_sidecar/tap", 200): {},
    ("get", "/_sidecar/tap", 400): {"params": {"outcome": "eaten"}},
    ("get", "/_sidecar/tap", 403): {"headers": STRANGER},
    ("get", "/_sidecar/openapi.json", 200): {},
    ("get", "/_sidecar/openapi.json", 403): {"headers": STRANGER},
    ("get", "/metrics", 200): {},
    ("get", "/livez", 200): {},
    ("get", "/readyz", 200): {},
}
"""A request for each described answer, but those to events, one at the start of a process, and a full house (503)."""
GOES_ON = {path for path, item in DESCRIBED["paths"].items() if "goes on" in item.get("get", {}).get("tags", ())}
"""What is answered by a stream that has no end; `test_sse` has the rest of it."""


def operations() -> set[tuple[str, str]]:
    """Return method and path of all described operations."""
    return {(method, path) for path, item in DESCRIBED["paths"].items() for method in item if method != "servers"}


def statuses(method: str, path: str) -> set[int]:
    """Return the described statuses of one operation."""
    return {int(each) for each in DESCRIBED["paths"][path][method]["responses"]}


def schema(name: str) -> dict[str, Any]:
    """Return a schema of the description, with its references."""
    return {"$ref": f"#/components/schemas/{name}", "components": DESCRIBED["components"]}


def routes_of(running: Running) -> set[tuple[str, str]]:
    """Return method and path of all routes of its listeners; Starlette answers HEAD for each GET."""
    app = running.runtime._servers[0][0].config.app
    assert isinstance(app, Starlette)
    routes = [route for route in app.routes if isinstance(route, Route)]
    assert len(routes) == len(app.routes)
    own = {(method.lower(), route.path) for route in routes for method in route.methods or () if method != "HEAD"}
    return own | {("get", path) for path in PATHS}


async def test_every_route_is_described_and_nothing_else(tmp_path: Path) -> None:
    """The routes of both listeners, and events, which are not a route."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:
        assert operations() == routes_of(running) | {("post", "/v1/events")}


async def test_every_described_answer_exists(tmp_path: Path) -> None:
    """With the described content type and body, from the described listener."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path, tap=True) as running:
        await eventually(lambda: running.runtime._ready)
        async with httpx.AsyncClient() as client:
            for (method, path, wanted), more in CASES.items():
                item = DESCRIBED["paths"][path]
                address = running.admin if "servers" in item else running.address
                async with client.stream(method, f"http://{address}{path}", **more) as answer:
                    if path not in GOES_ON or wanted != 200:
                        await answer.aread()
                assert (path, answer.status_code) == (path, wanted)
                assert_described(item[method]["responses"][str(wanted)], answer)
    for method, path in operations() - {("post", "/v1/events"), ("get", "/readyz")}:
        full = {503} if path in GOES_ON else set()
        assert statuses(method, path) == full | {case[2] for case in CASES if case[:2] == (method, path)}


def assert_described(said: dict[str, Any], answer: httpx.Response) -> None:
    """Fail unless content type and JSON are as described."""
    if "$ref" in said:
        said = DESCRIBED["components"]["responses"][said["$ref"].rpartition("/")[2]]
    if "content" not in said:
        assert answer.headers["location"] == said["headers"]["location"]["schema"]["const"]
        return
    (media_type,) = said["content"]
    assert answer.headers["content-type"].partition(";")[0] == media_type
    if media_type == "application/json":
        value = {**said["content"][media_type]["schema"], "components": DESCRIBED["components"]}
        Draft202012Validator(value).validate(answer.json())


def test_every_status_of_an_answer_to_events_is_described() -> None:
    """For any mix of events, and for every refusal of a request."""
    kinds = [
        SUCCESS,
        msgspec.structs.replace(SUCCESS, outcome=Outcome.SPOOLED),
        refused(SCORE, "no route takes it", ""),
        failed(SCORE, "EventGate met an error", unreachable=False),
        failed(SCORE, "nobody is there", unreachable=True),
    ]
    mixes = itertools.product(kinds, kinds, (False, True))
    of_events = {merge([one, other], ["a", "b"], hasty).status for one, other, hasty in mixes}
    of_requests = {each.status for each in RequestError.__subclasses__() if each is not NotFound}
    assert statuses("post", "/v1/events") == of_events | of_requests


def test_the_kinds_of_refused_requests_are_described() -> None:
    """Every `type` in the answer to a refused request."""
    kinds = {each.kind for each in RequestError.__subclasses__()}
    assert set(DESCRIBED["components"]["schemas"]["RequestError"]["properties"]["type"]["enum"]) == kinds
    assert MalformedRequest.kind in kinds


@pytest.mark.parametrize(
    "name",
    [
        "UpstreamNow",
        "EndpointNow",
        "AddressNow",
        "SpoolNow",
        "StreamNow",
        "Minute",
        "RouteNow",
        "Failure",
        "FailoverNow",
        "ChecksOfMinute",
        "Span",
        "ProblemNow",
        "Status",
    ],
)
def test_every_part_of_the_status_is_described(name: str) -> None:
    """Each value has exactly the described fields."""
    fields = set(getattr(status, name).__struct_fields__)
    added = {"sentence", "level", "problems"} if name == "Status" else set()
    said = DESCRIBED["components"]["schemas"][name]
    assert set(said["properties"]) == set(said["required"]) == fields | added


def test_every_field_of_a_problem_in_a_file_is_described() -> None:
    """As in `check --json` and `/_sidecar/config`."""
    said = DESCRIBED["components"]["schemas"]["FileProblem"]
    assert set(said["properties"]) == set(said["required"]) == set(errors.Problem.__dataclass_fields__)


@pytest.mark.parametrize("name", DESCRIBED["components"]["schemas"])
def test_every_schema_is_valid(name: str) -> None:
    """By JSON Schema 2020-12, which OpenAPI 3.1 uses, and none is unused."""
    Draft202012Validator.check_schema(schema(name))
    assert f"'#/components/schemas/{name}'" in str(DESCRIBED)


def test_the_description_has_this_version() -> None:
    """The file has none, so that a release cannot forget it."""
    assert DESCRIBED["info"]["version"] == __version__


async def test_it_is_served_to_this_machine_only() -> None:
    """As JSON, under a loopback name."""
    for peer, wanted in (("127.0.0.1", 200), ("10.2.2.45", 403)):
        transport = httpx.ASGITransport(Starlette(routes=[openapi_route()]), client=(peer, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8888") as client:
            answer = await client.get("/_sidecar/openapi.json")
        assert answer.status_code == wanted
        assert wanted == 403 or answer.json() == DESCRIBED
