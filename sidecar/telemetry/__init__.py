"""Log and metrics: everything that happens is a typed value, which is counted, logged, or both.

Happenings (`happenings`, `handovers`)
    Every kind of happening, with its fields, log level and sampling. To log something new, add a class there.

Metrics (`metrics`, `counts`)
    Each metric is defined beside the happening that it counts. What happens with every request is counted in plain
    numbers (`counts`), which become metrics at a scrape. `make docs` updates the table in docs/metrics.md.

The two together (`telemetry`)
    `Telemetry.emit` counts a happening and logs it. Nothing else logs or counts.

Log (`log`, `writer`)
    JSON in the Elastic Common Schema, or readable lines on a terminal. A thread writes them, so that a pipe that is not
    read blocks nothing; lines that do not fit are dropped and counted.

State (`vitals`, `history`)
    `vitals` has the gauges: health, what is in flight, the event loop's lag. `history` keeps the last hour for the
    status page.

Supervision (`contained`)
    A task of `serve` that raises is reported and restarted.

What does not belong here: reading the state of other parts, which emit happenings or pass values. This package
imports only `timers`. Event content is never logged: only streams, names and reasons.

Doors: contained, counts, handovers, happenings, telemetry, history, log, vitals.
Pure: none.
"""
