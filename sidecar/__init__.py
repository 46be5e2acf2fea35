"""A sidecar that takes events from a model server on localhost and delivers each to the right EventGate.

Each package imports only what stands below it; those side by side do not import each other.

    commands             the command line, a module for each command
    demo │ serve         a trial on one machine │ build, reload, trace and stop what `serve` runs
    status               what a running sidecar says about itself
    intake │ spool       events from socket to answer │ events on disk that no endpoint took
    delivery             which events travel together, where to, how often, until when
    upstreams            which endpoints there are, how they are, in which order to try them
    eventgate            one POST or health check to one address, and what came of it
    routes               routes.yaml: what it may say, what it decides, what is wrong with it
    telemetry │ events   log lines and metrics │ the vocabulary: an event, its status, how it is handed on
    errors, timers       what can go wrong, and deadlines

Each package's docstring says what belongs there, which of its modules others may import (doors) and which do no I/O
(pure). The contracts at the end of `pyproject.toml` and `tests/project/test_layout.py` enforce all of it.
"""

__version__ = "0.1.0"
