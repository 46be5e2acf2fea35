"""Builds, reloads, traces and stops a sidecar.

Start and stop (`runtime`)
    `Runtime` builds every long-lived part once and runs them in one task group. `Runtime.run` has the order in which
    they start and stop, `Runtime._stop_when` the handling of SIGTERM and SIGINT.

Reload (`reload`, `generation`)
    `reload` watches `routes.yaml`, and refuses files that `routes.inspection` rejects. A `Generation` is everything
    that depends on the configuration; a new one replaces the old one as a whole.

Traces (`otelsettings`, `tracing`, `spanexport`)
    `otelsettings` reads OpenTelemetry's environment variables. If they turn traces on, `tracing`, which creates spans,
    and `spanexport`, which sends them, are loaded. No other module uses OpenTelemetry.

What does not belong here: decisions about events, and the status page (`status`).

Doors: runtime, otelsettings.
Pure: otelsettings.
"""
