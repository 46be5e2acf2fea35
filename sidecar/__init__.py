"""A sidecar that takes events from a model server on localhost and delivers each to the right EventGate.

A package imports only packages below it; packages on one line do not import each other.

    commands             the command line, one module per command
    demo │ serve         a demo on one machine │ builds, reloads, traces and stops a sidecar
    status               what a running sidecar says about itself
    intake │ spool       from the socket to the answer │ undelivered events, on disk
    delivery             batching, attempts, retries
    upstreams            DNS, health, failover
    eventgate            one POST or health check to one address, and its result
    routes               routes.yaml: its language, its decisions, its mistakes
    telemetry │ events   log lines and metrics │ an event, its status, and how it is passed on
    errors, timers       what can go wrong, and timeouts

Each package's docstring says what belongs there, which modules other packages may import (doors) and which do no I/O
(pure). The contracts at the end of `pyproject.toml` and `tests/project/test_layout.py` enforce this.
"""

__version__ = "0.2.0"
