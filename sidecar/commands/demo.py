"""`eventgate-sidecar demo`: runs everything on one machine, and checks where events went."""

from __future__ import annotations

import sys

import click

from sidecar.commands.terminal import json_option


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running for curl; Ctrl-C ends it.")
@json_option
def demo(keep: bool, as_json: bool) -> None:
    """Run it all on this machine, with emulated datacenters.

    Starts emulated EventGates, the sidecar and a model server, and shows where each event went.

    Exit status: 0 if every event arrived where routes.yaml says; 1 otherwise.
    """
    import gc

    from sidecar.demo.stage import run

    gc.enable()  # with --keep it may run for hours; see `__main__`
    sys.exit(run(keep=keep, as_json=as_json))


def _sidecar(hosts: str, *arguments: str) -> None:
    """Run a command with this hosts file: the demo's sidecar, whose datacenters are addresses of this machine."""
    import functools
    from pathlib import Path

    from sidecar.commands.cli import app
    from sidecar.serve.runtime import Outside
    from sidecar.upstreams.resolver import Resolver

    app(arguments, obj=Outside(resolver=functools.partial(Resolver, hosts=Path(hosts))))


if __name__ == "__main__":
    _sidecar(*sys.argv[1:])
