"""`python -m sidecar` is the same as `eventgate-sidecar`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line.

    A command ends before collecting garbage would pay, and an eighth of its time would go there; those that
    stay turn the collector on again.
    """
    if sys.argv[1:2] == ["serve"]:
        _take_signals()
    _open_standard_files()
    import atexit  # noqa: PLC0415  what comes before the signals takes time during which they are lost
    import gc  # noqa: PLC0415  as above

    gc.disable()
    atexit.register(gc.freeze)  # the interpreter collects once more at its end
    from sidecar.commands.cli import main as run  # noqa: PLC0415  what it imports is what the collector would go through

    run()


def _take_signals() -> None:
    """Take signals from now on, until `serve` listens and takes them itself.

    The kernel drops a signal for which PID 1 has no handler: the pod would live until it is killed.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what it asks for, reading routes.yaml, is to come
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _open_standard_files() -> None:
    """Put /dev/null where standard input, output or error is closed: the next socket would take its number."""
    import os  # noqa: PLC0415  as above

    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r"))


def _end(_number: int, _frame: object) -> None:
    """End with status 0, at once: nothing was answered yet, and an exception might be caught somewhere."""
    import os  # noqa: PLC0415  as above

    os._exit(0)


if __name__ == "__main__":
    main()
