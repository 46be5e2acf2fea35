"""`explain`, `check`, `diff` and the running router agree on any configuration, pod and event."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given

from sidecar.commands.check import as_data
from sidecar.commands.diff import compare
from sidecar.events.event import Event
from sidecar.routes import audit
from sidecar.routes.explain import explanation
from sidecar.routes.inspection import inspect
from sidecar.routes.routing import Router
from sidecar.routes.ways import way_of
from tests.anyroutes import EVENTS, LABELS, config_of, event_of, files
from tests.jsontext import unhurried


def destination(router: Router, event: Event) -> tuple[str | None, str | None]:
    """Upstream and stream, as the request path decides."""
    decision = router.decide(event)
    return decision.upstream, (decision.stream or event.stream) if decision.upstream else None


@unhurried
@given(files(), LABELS, EVENTS)
def test_explain_says_what_the_router_does(file: Any, labels: dict[str, str], value: Any) -> None:
    """Same route, upstream, name and refusal; only the last line, of the route that took the event, is marked."""
    router, event = Router(config_of(file), labels), event_of(value)
    decision, found = router.decide(event), explanation(router, event)
    assert (found["upstream"], found["sent_as"]) == destination(router, event)
    assert found["refused"] == decision.refusal
    marked = [line["name"] for line in found["routes"] if line["matched"]]
    assert marked == ([decision.route] if decision.route else [])
    assert all(line["matched"] is (line is found["routes"][-1]) for line in found["routes"] if decision.route)
    if decision.upstream is not None:
        accepts = router.config.upstreams[decision.upstream].accepts
        assert [line["matched"] for line in found["accepts"]][-1:] == ([True] if accepts is not None else [])


@unhurried
@given(files(), LABELS, EVENTS)
def test_a_copy_is_sent_where_all_say_so(file: Any, labels: dict[str, str], value: Any) -> None:
    """Only of a sent event, to an upstream that accepts it, never twice under one name to one EventGate."""
    router, event = Router(config_of(file), labels), event_of(value)
    copy, found = router.decide(event).copy, explanation(router, event)["copy"]
    assert (copy and (copy.upstream, copy.stream)) == (found and (found["upstream"], found["sent_as"]))
    if copy is not None and copy.refusal is None:
        upstream, stream = destination(router, event)
        urls = {name: each.url for name, each in router.config.upstreams.items()}
        assert upstream is not None
        assert (urls[upstream], stream) != (urls[copy.upstream], copy.stream)
        assert router.accepts(copy.upstream, copy.stream or None, event)


@unhurried
@given(files(), LABELS, EVENTS)
def test_the_matrix_says_what_the_router_does(file: Any, labels: dict[str, str], value: Any) -> None:
    """Except if a value is open, because the event lacks what a rule reads."""
    router, event = Router(config_of(file), labels), event_of(value)
    way = way_of(router, event)
    if way.depends_on is None:
        assert (way.upstream, way.stream) == destination(router, event)
    else:
        assert (event.schema if way.depends_on == "schema" else event.value_at("page.wiki")) is None


@unhurried
@given(files(), LABELS, EVENTS)
def test_check_says_what_the_router_does(file: Any, labels: dict[str, str], value: Any) -> None:
    """A test passes exactly if the event is routed so, and no event takes an unreachable route."""
    router, event = Router(config_of(file), labels), event_of(value)
    upstream, stream = destination(router, event)
    expect: dict[str, Any] = {"upstream": upstream, "stream": stream, "route": router.decide(event).route or None}
    expect = {key: each for key, each in expect.items() if each is not None} | {"refused": upstream is None}
    example = {"name": "it goes its way", "labels": labels, "event": value, "expect": expect}
    found = inspect(json.dumps({**file, "tests": [example]}))
    assert [each.path for each in found.problems if each.path.startswith("tests")] == []
    wrong = {**example, "expect": {"refused": upstream is not None}}
    assert "tests[0].expect.refused" in [each.path for each in inspect(json.dumps({**file, "tests": [wrong]})).problems]
    dead = {file["routes"][int(path[1])]["name"] for path, _ in audit.mistakes(router.config) if len(path) == 2}
    assert router.decide(event).route not in dead


@unhurried
@given(files(), files(), EVENTS)
def test_diff_says_what_check_says_of_each_file(old: Any, new: Any, value: Any) -> None:
    """Before and after of each change are what the matrices of the two files say."""
    before, after = config_of(old), config_of(new)
    for change in compare(before, after, [event_of(value)]).changes:
        assert change.before == way_of(Router(before, change.labels), change.event)
        assert change.after == way_of(Router(after, change.labels), change.event)


@unhurried
@given(files())
def test_a_report_can_be_written_of_any_file(file: Any) -> None:
    """`check` has text and JSON for it."""
    assert json.dumps(as_data(inspect(json.dumps(file))))
