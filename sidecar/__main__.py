"""`python -m sidecar` is the same as `eventgate-sidecar`."""

from __future__ import annotations

import atexit
import gc
import signal
import sys


def main() -> None:
    """Run the command line.

    A command ends before collecting garbage would pay, and an eighth of its time would go there; those that
    stay turn the collector on again.
    """
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end a sidecar that is not yet listening for it
    gc.disable()
    atexit.register(gc.freeze)  # the interpreter collects once more at its end
    from sidecar.commands.cli import main as run  # noqa: PLC0415  what it imports is what the collector would go through

    run()


if __name__ == "__main__":
    main()
