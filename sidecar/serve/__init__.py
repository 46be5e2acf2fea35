"""What `serve` builds, swaps, traces and stops.

How it starts and stops (`runtime`)
    `Runtime` builds every long-lived part once and runs them in one task group. `Runtime.run` shows the order in which
    they start and end, and `Runtime._stop_when` what happens at SIGTERM and SIGINT.

How an edited `routes.yaml` takes effect (`reload`, `generation`)
    `reload` watches the file, and refuses what `routes.inspection` finds wrong. A `Generation` is everything that
    depends on the configuration; a new one replaces the old one as a whole.

How traces are made (`otelsettings`, `tracing`, `spanexport`)
    `otelsettings` reads OpenTelemetry's environment variables. Only where they ask for traces are `tracing`, which
    makes spans, and `spanexport`, which sends them, loaded. No other module knows OpenTelemetry.

What must not come here: any decision about an event, and what a running sidecar says of itself (`status`).

Doors: runtime, otelsettings.
Pure: otelsettings.
"""
