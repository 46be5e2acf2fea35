"""What happens: each happening is a value, and becomes a metric, a line in the log, or both.

What can happen (`happenings`)
    Every kind of happening, with its fields, the level of its line and how often such a line is written. A new one is a
    class there; nothing else is needed for it to be logged.

How it is counted (`metrics`, `counts`)
    Each metric stands beside the happening that it counts; define a new one there. What comes with every request is
    kept in plain numbers (`counts`), which become metrics when they are asked for. `make docs` renews the table in
    docs/metrics.md.

What joins the two (`telemetry`)
    `Telemetry.emit` counts a happening and logs it. Nothing else logs or counts.

What a line looks like, and where it goes (`log`, `writer`)
    JSON in the Elastic Common Schema, or lines for people on a terminal. A thread writes them, so that a pipe that
    nobody reads holds up nothing; what does not fit is dropped and counted.

What lasts (`vitals`, `history`)
    `vitals` has the gauges of this moment: health, what is in flight, the event loop's lag. `history` remembers the
    last hour for the status page.

What keeps tasks running (`contained`)
    A task of `serve` that raises is reported, and begun again.

What must not come here: reading the state of another part. This package is told what happens, or is handed a value; it
imports nothing but `timers`. The content of an event is never logged: only streams, names and reasons.

Doors: contained, happenings, telemetry, history, log, vitals.
Pure: none.
"""
