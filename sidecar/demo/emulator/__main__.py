"""`python -m sidecar.demo.emulator`: one emulated EventGate as a process."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from sidecar.demo.emulator.gate import MAX_BODY_BYTES, SCHEMAS, EventGateEmulator
from sidecar.demo.emulator.server import running
from sidecar.errors import SettingError
from sidecar.routes.file import read_bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; print one line of JSON with the URL when ready."""
    options = _parser().parse_args(arguments)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options))
    except (OSError, ValueError, SettingError) as error:
        sys.stderr.write(f"emulator: {error}\n")
        return 1
    return 0


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    emulator = EventGateEmulator(
        options.name,
        topic_prefix=options.topic_prefix,
        output=options.output,
        max_body_bytes=options.max_body_bytes,
        streams=json.loads(read_bytes(options.streams)) if options.streams else None,
        schemas=options.schemas,
    )
    serving = running(
        emulator, options.listen, control=options.control, certfile=options.certfile, keyfile=options.keyfile
    )
    async with serving as url:
        ready = {"name": emulator.name, "url": url, "control": emulator.control_url, "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()
    emulator.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sidecar.demo.emulator", description="An emulated EventGate 1.8.4.")
    local = ("127.0.0.1", 0)
    add = parser.add_argument
    add("--name", default="eventgate", help="name in the record of each accepted event")
    add("--listen", type=_address, default=local, metavar="HOST:PORT", help="port 0: any free port (default)")
    add("--control", type=_address, default=local, metavar="HOST:PORT", help="second port, only to set faults")
    add("--topic-prefix", default="", metavar="PREFIX", help="such as 'staging.'")
    add(
        "--output",
        type=Path,
        default=Path(os.devnull),
        metavar="FILE",
        help="append accepted events, one JSON line each",
    )
    add("--max-body-bytes", type=int, default=MAX_BODY_BYTES, metavar="N")
    add(
        "--streams",
        type=Path,
        metavar="FILE",
        help="JSON object that maps each stream to its schema title",
    )
    add("--schemas", type=Path, default=SCHEMAS, metavar="DIR", help="schemas as DIR/<title>/<version>.json")
    add("--certfile", type=Path, metavar="FILE", help="serve over TLS")
    add("--keyfile", type=Path, metavar="FILE")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
