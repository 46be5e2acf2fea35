"""Promises of `generation`: an edit leaves unchanged upstreams alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import SettingError
from sidecar.serve.generation import SPARE_SECONDS, Generation
from tests.anyroutes import config_of
from tests.scripted import Recorder

BEFORE: dict[str, Any] = {
    "version": 1,
    "upstreams": {
        "one": {"url": "http://one/v1/events", "accepts": [{"stream": ["a*", "/b/"]}]},
        "two": {"url": "http://two/v1/events", "timeouts": {"deadline": "3s"}, "coalesce": {"linger": "500ms"}},
    },
    "routes": [{"name": "a", "to": "one"}],
}


def generation(file: dict[str, Any], before: Generation | None = None) -> Generation:
    """Return the generation of a file with these contents."""
    return Generation(config_of(file), {}, Recorder(), before)


def edited(upstream: str, **settings: object) -> dict[str, Any]:
    """Return the file with other settings in an upstream."""
    upstreams = BEFORE["upstreams"]
    return {**BEFORE, "upstreams": {**upstreams, upstream: {**upstreams[upstream], **settings}}}


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(BEFORE, id="the same again"),
        pytest.param({**BEFORE, "routes": [{"name": "b", "to": "two"}]}, id="routes"),
        pytest.param(edited("one", accepts=[{"stream": "c"}]), id="accepts"),
        pytest.param(edited("one", topic_prefixes=["eqiad."]), id="topic prefixes"),
        pytest.param(edited("one", event_service="eventgate-main"), id="event service"),
        pytest.param(edited("one", coalesce={"max_events": 7}), id="coalesce"),
    ],
)
def test_an_unaffected_upstream_keeps_its_pool(file: dict[str, Any]) -> None:
    """With its connections and the health of its addresses."""
    before = generation(BEFORE)
    after = generation(file, before)
    assert after.pools == before.pools
    assert (after.pools_not_in(before), before.pools_not_in(after)) == ([], [])
    assert after.intake is not before.intake


def test_a_new_pool_keeps_the_addresses_of_its_name() -> None:
    """A DNS failure during an edit removes nothing."""
    before = generation(BEFORE)
    before.pools["one"].endpoints[0].set_addresses(("10.0.0.1",))
    after = generation(edited("one", timeouts={"attempt": "1s"}), before)
    assert after.pools["one"] is not before.pools["one"]
    assert list(after.pools["one"].endpoints[0].addresses) == ["10.0.0.1"]


@pytest.mark.parametrize(("env", "mirrors"), [("production", True), ("staging", False)])
def test_only_a_pod_whose_routes_have_a_mirror_has_one(env: str, mirrors: bool) -> None:
    """Otherwise there is no such stage."""
    route = {"name": "a", "match": {"labels": {"env": "production"}}, "to": "one", "mirror": {"to": "two"}}
    found = Generation(config_of({**BEFORE, "routes": [route]}), {"env": env}, Recorder())
    assert (found._mirror is not None) == mirrors
    found.end_copies()


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://other/v1/events"},
        {"timeouts": {"attempt": "1s"}},
        {"health_check": {"path": "/"}},
        {"outlier": {"consecutive": 5}},
        {"on_ambiguous": "fail"},
        {"failback": "1m"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_changed_upstream_gets_a_new_pool(settings: dict[str, object]) -> None:
    """And no other."""
    before = generation(BEFORE)
    after = generation(edited("one", **settings), before)
    assert (after.pools["one"] is before.pools["one"], after.pools["two"] is before.pools["two"]) == (False, True)
    assert after.pools_not_in(before) == [after.pools["one"]]
    assert before.pools_not_in(after) == [before.pools["one"]]


def test_events_for_a_new_upstream_are_sent() -> None:
    """A new one has its own pool; that of a removed one is dropped later."""
    before = generation(BEFORE)
    upstreams = {"one": BEFORE["upstreams"]["one"], "three": {"url": "http://three/v1/events"}}
    after = generation({**BEFORE, "upstreams": upstreams}, before)
    assert [pool.name for pool in after.pools_not_in(before)] == ["three"]
    assert [pool.name for pool in before.pools_not_in(after)] == ["two"]
    assert [pool.name for pool in before.pools_not_in(None)] == ["one", "two"]


def test_the_longest_time_of_a_request() -> None:
    """The longest deadline, plus `linger` and some spare time."""
    assert generation(BEFORE).longest == pytest.approx(4.0 + 0.005 + SPARE_SECONDS)
    slow = edited("two", timeouts={"deadline": "4.2s"})
    assert generation(slow).longest == pytest.approx(4.2 + 0.5 + SPARE_SECONDS)


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Before anything is in force."""
    file = edited("one", url="https://one/v1/events", tls={"ca_file": f"{tmp_path}/ca.pem"})
    with pytest.raises(SettingError, match="cannot be read as PEM"):
        generation(file, generation(BEFORE))
