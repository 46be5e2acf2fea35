"""Promises of `top`: the status in a terminal, exit statuses for scripts, and a message without a sidecar."""

from __future__ import annotations

import json
from typing import Any

import pytest
import respx
from click.testing import CliRunner, Result

from sidecar.commands.cli import app
from sidecar.status.problems import as_data
from sidecar.status.value import Failure, MirrorNow, RouteNow
from tests.fakes import refusing
from tests.statuses import HANGS, NOW, address, endpoint, status, upstream

HUNG = upstream(endpoint("eqiad", address("unhealthy", HANGS)), endpoint("codfw", address()), first="codfw")


def top(*flags: str) -> Result:
    """Run `top`."""
    return CliRunner().invoke(app, ["top", *flags])


def shown(data: Any, *flags: str) -> Result:
    """Run `top` with a sidecar that has this status."""
    with respx.mock:
        respx.get("http://127.0.0.1:8888/_sidecar/status.json").respond(json=data)
        return top(*flags)


def test_all_well_is_exit_status_0() -> None:
    """With the sentence, the datacenters and the streams; printed once if there is no terminal."""
    result = shown(as_data(status()))
    assert result.exit_code == 0
    assert result.output.startswith("All well: staging → eqiad; 52 events/s; nothing waiting")
    for words in ("→ eqiad", "codfw", "10.2.2.45", "mediawiki.a", "3144"):
        assert words in result.output


def test_something_wrong_is_exit_status_1() -> None:
    """With the problem and the last failures."""
    failing = status(upstreams=(HUNG,), failures=(Failure(NOW - 60, "a POST failed", 7),))
    result = shown(as_data(failing), "--once")
    assert result.exit_code == 1
    words = " ".join(result.output.split())
    assert words.startswith(f"staging: eqiad has been down for 12 min ({HANGS}); events go to codfw")
    assert "60 s ago a POST failed (7 times)" in words


def test_an_upstream_that_is_out_has_no_arrow() -> None:
    """Events go nowhere, whichever endpoint gets the next trial."""
    out = upstream(endpoint("eqiad", address("unhealthy", HANGS)))
    assert "→" not in shown(as_data(status(upstreams=(out,)))).output


def test_only_outcomes_that_happened_have_a_column() -> None:
    """The failures would be lost among five columns of zeros."""
    lines = shown(as_data(status())).output.splitlines()
    assert ["stream", "delivered"] in [line.split() for line in lines]


def test_copies_are_shown_where_a_route_has_a_mirror() -> None:
    """With their results; without a mirror there is no table."""
    route = RouteNow("all", "main", None, None, {}, MirrorNow("staging", None, 5, {"sent": 3, "full": 1}))
    lines = [line.split() for line in shown(as_data(status(routes=(route,)))).output.splitlines()]
    assert ["all", "staging", "5", "3", "sent,", "1", "full"] in lines
    assert "copies of" not in shown(as_data(status())).output


def test_programs_get_the_json_of_the_sidecar() -> None:
    """Unchanged."""
    data = json.loads(json.dumps(as_data(status(upstreams=(HUNG,)))))
    result = shown(data, "--json")
    assert (result.exit_code, json.loads(result.output)) == (1, data)


@pytest.mark.parametrize("data", [{}, [], {"upstreams": 7}], ids=["nothing", "a list", "something else"])
def test_another_version_is_reported(data: Any) -> None:
    """A status that cannot be read is not shown."""
    result = shown(data)
    assert result.exit_code == 2
    assert "is not a sidecar of this version" in result.output


def test_a_missing_sidecar_is_reported() -> None:
    """With the address that was tried."""
    with refusing() as address:
        result = top("--listen", address)
    assert result.exit_code == 2
    assert f"no sidecar answers at {address}" in result.output
