"""Searches for seeds that break a promise: `make simulate ARGS='--minutes 60'`, or shows one: `--seed 17`."""

from __future__ import annotations

import os
import sys

if os.environ.get("PYTHONHASHSEED") != "0":  # otherwise the order of a set of strings differs between interpreters
    os.execve(
        sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], os.environ | {"PYTHONHASHSEED": "0"}
    )

from tests.simulation import clocks

clocks.take_over()

from tests.simulation.search import main

sys.exit(main())
