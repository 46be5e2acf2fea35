"""A sidecar that takes events from a model server on localhost and delivers each to the right EventGate.

The pure core decides and does nothing: `config` (read by `loader`, with `section`, `pattern`, `template` and
`yamlmarks`; looked through by `inspection`, with `audit`, `overlap` and `routetests`), `body`, `event`, `request`,
`routing` (shown by `explain`, and by `checkreport` from `matrix` and `samples`; two files compared by `diff`,
shown by `diffreport`; for editors `schema`, for readers `streams`), `health`, `addresses`, `failover`, `batching`,
`retry`, `verdict`, `results`, `undelivered`, `spooled`, `ordering`, `replaypolicy`, `otelsettings`, `tap`,
`status` (shown by `statushtml`) and `errors` know no network, clock, randomness or logger; time and chance reach
them as arguments. The other modules act on what the core decided: `listener`, `server` and `app` face the model
server, `coalescer` lets events travel together, `delivery` sends each group of them on a `journey`, which holds
the one retry loop, `eventgate` speaks HTTP outward over `connection` (`timers` ring for both), and `resolver` DNS,
`monitor` keeps watch with `healthcheck`, `spool` keeps events on disk (`groupcommit` writes them, `spooldir` owns
the directory, `spoolfile` is the database), `keeping` decides what goes there, `replay` sends them again and
`spooling` runs all that, `telemetry` logs (`logform` says how that looks) and counts (in `counts`, what comes with
every request), `routesfile` reads the file, `reload` takes it anew while events flow, a `generation` is all that
depends on it, `inquiry` tells (and `ask` asks) what is true now, `statuspage` shows it, with the last hour from
`history`, both over `sse` where it goes on, `openapi` describes what may be asked, `tracing` makes spans in the
`parts` that have any, `spanexport` sends them, `runtime` builds it all once.

Imports run one way only. `make check` enforces that, and the purity of the core, by the contracts at the end
of `pyproject.toml`.
"""

__version__ = "0.1.0"
