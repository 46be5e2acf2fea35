"""Options that several commands have."""

from __future__ import annotations

import functools
from pathlib import Path

import click

FILE = click.Path(path_type=Path)
argument = functools.partial(click.argument, type=FILE)
setting = functools.partial(click.option, show_envvar=True)
"""An option that is also a variable."""

listen_option = functools.partial(
    setting, "--listen", envvar="SIDECAR_LISTEN", default="127.0.0.1:8888", metavar="HOST:PORT"
)
routes_option = setting(
    "--routes",
    envvar="SIDECAR_ROUTES",
    type=FILE,
    default="routes.yaml",
    help="The configuration to use.",
    metavar="FILE",
)
label_option = click.option(
    "--label",
    multiple=True,
    help="What the pod is, as k=v; may be repeated. Also SIDECAR_LABELS=k=v,k=v; a flag wins over it.",
    metavar="K=V",
)
labels_variable = click.option("--labels-variable", envvar="SIDECAR_LABELS", default="", hidden=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
