"""Promises of `outgoing`: loads are immutable."""

from __future__ import annotations

import pytest

from sidecar.events.outgoing import Load, Outgoing


def test_a_load_is_immutable() -> None:
    """To send a part of it, or other headers, a new load is made."""
    load = Load("main", [Outgoing(0, b"{}", None, "s")])
    with pytest.raises(AttributeError):
        load.headers = (("user-agent", "model/1"),)  # type: ignore[misc]
    assert (load.headers, load.hasty) == ((), False)
