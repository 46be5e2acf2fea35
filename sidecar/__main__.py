"""`python -m sidecar` is the same as `eventgate-sidecar`."""

from __future__ import annotations

import atexit
import gc


def main() -> None:
    """Run the command line.

    A command ends before collecting garbage would pay, and an eighth of its time would go there; those that
    stay turn the collector on again.
    """
    gc.disable()
    atexit.register(gc.freeze)  # the interpreter collects once more at its end
    from sidecar.cli import main as run  # noqa: PLC0415  what it imports is what the collector would go through

    run()


if __name__ == "__main__":
    main()
