"""`python -m sidecar` is the same as `eventgate-sidecar`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line.

    Garbage collection is off: it would take an eighth of a short command's time. Commands that stay turn it on again.
    """
    if sys.argv[1:2] == ["serve"]:
        _take_signals()
    _prepare_standard_files()
    import atexit  # noqa: PLC0415  signals are lost until they are handled, so imports come later
    import gc  # noqa: PLC0415  as above

    gc.disable()
    atexit.register(gc.freeze)  # the interpreter collects once more at exit
    from sidecar.commands.cli import main as run  # noqa: PLC0415  imported after the collector is off

    run()


def _take_signals() -> None:
    """Handle signals until `serve` does it itself.

    The kernel drops signals for which PID 1 has no handler: SIGTERM would do nothing, and the pod be killed later.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # asks to reload routes.yaml, which is not read yet
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _prepare_standard_files() -> None:
    """Open /dev/null for each standard file that is closed: a socket would get its number otherwise.

    A terminal that cannot show a character gets a question mark in its place.
    """
    import io  # noqa: PLC0415  as above
    import os  # noqa: PLC0415  as above

    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _end(_number: int, _frame: object) -> None:
    """Exit with status 0 at once: nothing was answered yet, and an exception might be caught on its way."""
    import os  # noqa: PLC0415  as above

    os._exit(0)


if __name__ == "__main__":
    main()
