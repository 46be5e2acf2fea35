"""`python -m sidecar.commands HOSTS COMMAND …`: a command with this hosts file.

The demo's sidecar is started so, since its datacenters are addresses of this machine.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from sidecar.commands.cli import app
from sidecar.serve.runtime import Outside
from sidecar.upstreams.resolver import Resolver


def main(hosts: str, *arguments: str) -> None:
    """Run the command."""
    app(arguments, obj=Outside(resolver=functools.partial(Resolver, hosts=Path(hosts))))


if __name__ == "__main__":
    main(*sys.argv[1:])
