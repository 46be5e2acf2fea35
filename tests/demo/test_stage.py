"""The demo uses the shipped rules with its own addresses."""

from __future__ import annotations

import socket
from pathlib import Path

import yaml

from sidecar.demo import stage
from sidecar.routes.inspection import inspect
from sidecar.routes.language import loader

SHIPPED = Path(__file__).parent.parent.parent / "routes.yaml"


def test_the_shipped_rules_are_used() -> None:
    """Routes, `accepts` and tests are unchanged."""
    shipped = yaml.safe_load(SHIPPED.read_text())
    text = stage._routes({"staging": 1, "production": 2})
    demo = yaml.safe_load(text)
    assert (demo["routes"], demo["tests"]) == (shipped["routes"], shipped["tests"])
    for name, upstream in shipped["upstreams"].items():
        assert demo["upstreams"][name]["accepts"] == upstream["accepts"]
    assert inspect(text).problems == ()


def test_datacenters_have_their_names() -> None:
    """Staging's are eqiad and codfw, in the shipped order; no name leads to another machine."""
    demo = loader.read(stage._routes({"staging": 1, "production": 2}))
    assert [endpoint for upstream in demo.upstreams.values() for endpoint in upstream.endpoints] == [
        ("127.0.0.1:2", "http://127.0.0.1:2/v1/events"),
        ("eqiad", "http://staging.eqiad.test:1/v1/events"),
        ("codfw", "http://staging.codfw.test:1/v1/events"),
    ]


def test_a_free_port_is_free_on_every_address() -> None:
    """Both datacenters get the same port, since they share a url."""
    port = stage._free_port("127.0.0.2", "127.0.0.3")
    for host in ("127.0.0.2", "127.0.0.3"):
        with socket.socket() as taken:
            taken.bind((host, port))
