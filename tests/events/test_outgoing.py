"""Promises of `outgoing`: what is handed over stays what it is."""

from __future__ import annotations

import pytest

from sidecar.events.outgoing import Load, Outgoing


def test_a_load_is_passed_on_as_it_is() -> None:
    """Who sends a part of it, or under other headers, makes a load of its own."""
    load = Load("main", [Outgoing(0, b"{}", None, "s")])
    with pytest.raises(AttributeError):
        load.headers = (("user-agent", "model/1"),)  # type: ignore[misc]
    assert (load.headers, load.hasty) == ((), False)
