"""Makes our protocol out of what uvicorn's tests expect of theirs: `test_uvicorn_suite` puts it among them as conftest.

Their transports and loops are doubles with as little as their own protocols call; ours calls a little more.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from sidecar.intake.budget import ByteBudget
from sidecar.intake.server import make_server

theirs: Any = importlib.import_module("tests.protocols.test_http")


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio."""
    return "asyncio"


@pytest.fixture
def http_protocol_cls() -> Any:
    """Return what makes a connection; no test of theirs sends events, so nobody takes any."""
    no_taker: Any = None
    server = make_server(None, no_taker, ByteBudget(), 1.0)
    server.config.load()
    return server.config.http_protocol_class


def call_at(self: Any, when: float, callback: Any, *args: Any) -> Any:
    """Set a timer; the loop's time is always 0."""
    return self.call_later(when, callback, *args)


theirs.MockTransport.set_write_buffer_limits = lambda _self, **_: None
theirs.MockTransport.get_write_buffer_size = lambda _self: 0
theirs.MockTransport.abort = theirs.MockTransport.close
theirs.MockLoop.time = lambda _self: 0.0
theirs.MockLoop.call_at = call_at
theirs.MockLoop.call_soon = lambda _self, callback, *args: callback(*args)
