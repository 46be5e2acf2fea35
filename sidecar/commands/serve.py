"""`eventgate-sidecar serve`: runs the sidecar."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.commands.terminal import (
    FILE,
    Complaints,
    Wrong,
    label_option,
    labels_of,
    labels_variable,
    listen_option,
    routes_option,
    setting,
)
from sidecar.errors import SettingError

if TYPE_CHECKING:
    from sidecar.serve.runtime import Outside, Settings


@click.command()
@routes_option
@listen_option(help="Where model servers POST events.")
@setting(
    "--admin",
    envvar="SIDECAR_ADMIN",
    default="0.0.0.0:9102",
    help="Where the cluster reads /metrics, /livez, /readyz.",
    metavar="HOST:PORT",
)
@label_option
@labels_variable
@setting(
    "--drain",
    envvar="SIDECAR_DRAIN",
    default="25s",
    help="After SIGTERM, take requests until none has come for 10 s, but no longer than this.",
    metavar="TIME",
)
@setting(
    "--spool",
    envvar="SIDECAR_SPOOL",
    type=FILE,
    help="Keep events that no endpoint accepts in this directory, answer 202, and send them later.",
    metavar="DIR",
)
@setting(
    "--on-exit",
    envvar="SIDECAR_ON_EXIT",
    type=click.Choice(["keep", "print"]),
    default="keep",
    help="What to do with events left in the spool: print also writes them to standard output.",
)
@setting(
    "--hand-over",
    envvar="SIDECAR_HAND_OVER",
    help="Send the spool's events to the gateway at this URL: at shutdown, and when an outage has nearly filled it.",
    metavar="URL",
)
@setting(
    "--gateway",
    envvar="SIDECAR_GATEWAY",
    is_flag=True,
    help="Serve other pods: --listen may be open to them, each address has its limits, and spools are taken over.",
)
@setting(
    "--hand-over-from",
    envvar="SIDECAR_HAND_OVER_FROM",
    help="Networks whose sidecars may hand over to this gateway; their labels are believed.",
    metavar="CIDR,CIDR",
)
@setting(
    "--last-good",
    envvar="SIDECAR_LAST_GOOD",
    type=FILE,
    help="Keep the last good configuration here, and start with it if routes.yaml is broken.",
    metavar="FILE",
)
@setting(
    "--tap", "tapped", envvar="SIDECAR_TAP", is_flag=True, help="Let `tap` show events that pass, on this machine."
)
@click.pass_obj
def serve(
    outside: Outside | None,
    routes: Path,
    listen: str,
    admin: str,
    label: Sequence[str],
    labels_variable: str,
    drain: str,
    spool: Path | None,
    on_exit: str,
    hand_over: str | None,
    gateway: bool,
    hand_over_from: str | None,
    last_good: Path | None,
    tapped: bool,
) -> None:
    """Run the sidecar until SIGTERM; SIGHUP reloads routes.yaml.

    OpenTelemetry's variables turn traces on: OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_TRACES_EXPORTER=otlp.

    Exit status: 0 after a signal; 2 if routes.yaml or a setting is wrong, with every problem on standard error.
    """
    import asyncio

    import uvloop

    from sidecar.intake.origins import Origins
    from sidecar.intake.server import address_of
    from sidecar.serve.otelsettings import traces_asked_by
    from sidecar.serve.runtime import Runtime, Settings, prepare_process

    with Complaints(), Wrong() as wrong:
        settings = Settings(
            routes,
            listen,
            admin,
            wrong.unless({}, labels_of, label, labels_variable),
            wrong.unless(0.0, _seconds, drain),
            spool=spool,
            prints_what_is_left=on_exit == "print",
            last_good=last_good,
            traces=wrong.unless("", traces_asked_by, os.environ),
            tap=tapped,
            hand_over=wrong.unless("", _url, hand_over) if hand_over else "",
            gateway=gateway,
            hand_over_from=hand_over_from or "",
        )
        for flag, each in (("--listen", listen), ("--admin", admin)):
            wrong.unless(None, address_of, each, flag)
        wrong.unless(None, Origins, settings.hand_over_from)
        wrong.words += _conflicts(settings)
        if wrong.words and last_good is None:
            wrong.unless(None, _inspect, routes, settings.labels)
    with Complaints():
        prepare_process()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Runtime(settings, outside).run())


def _inspect(routes: Path, labels: Mapping[str, str]) -> None:
    from sidecar.routes.file import read_text
    from sidecar.routes.inspection import inspect

    inspect(read_text(routes), str(routes), labels).approved  # noqa: B018  it raises


def _conflicts(settings: Settings) -> Iterator[str]:
    """Yield which settings do not go together."""
    from sidecar.intake.origins import is_loopback

    if not settings.gateway and not is_loopback(settings.listen):
        yield (
            f"--listen {settings.listen} is open to other machines, and a sidecar serves its own pod alone; listen on "
            "127.0.0.1, or serve others on purpose with --gateway"
        )
    for needs, flag in ((settings.gateway, "--gateway"), (bool(settings.hand_over), "--hand-over")):
        if needs and settings.spool is None:
            yield f"{flag} needs a spool; give it a directory with --spool DIR"
    if settings.hand_over_from and not settings.gateway:
        yield "--hand-over-from has no effect without --gateway; add --gateway"
    if settings.hand_over and settings.gateway:
        yield "--hand-over is for sidecars: two gateways could hand events back and forth; leave it out with --gateway"


def _seconds(text: str) -> float:
    from sidecar.routes.language.scalars import duration

    if text in ("0", "0s"):
        return 0.0
    try:
        return duration(text, most="1h")
    except ValueError as error:
        raise SettingError(f"--drain {error}") from None


def _url(text: str) -> str:
    from sidecar.routes.language.scalars import url_in

    try:
        return url_in(text)
    except ValueError as error:
        raise SettingError(f"--hand-over {error}") from None
