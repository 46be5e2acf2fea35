"""Promises of `options`: what several commands have is called and set alike in each."""

from __future__ import annotations

import pytest

from sidecar.commands.cli import app

SHARED = {"listen": "SIDECAR_LISTEN", "routes": "SIDECAR_ROUTES"}
WHO = {"listen": {"serve", "explain", "tap", "top"}, "routes": {"serve", "explain", "probe"}}


@pytest.mark.parametrize("name", SHARED)
def test_an_option_of_several_commands_is_one_variable(name: str) -> None:
    """Who sets `SIDECAR_LISTEN` or `SIDECAR_ROUTES` for one command has set it for all."""
    having = {
        command.name: {parameter.envvar for parameter in command.params if parameter.name == name}
        for command in app.commands.values()
        if any(parameter.name == name for parameter in command.params)
    }
    assert having == {command: {SHARED[name]} for command in WHO[name]}
