"""`routes.yaml`: its language, its decisions, and its problems.

Language (`language`, `file`)
    `language` is what the file may say: its keys, patterns and values, and how they are read. `file` reads the bytes. A
    new key is a field in `language.config`. A new key of `match` also needs a line in `language.config.Match.patterns`,
    in `routing._first_mismatch` and in `explain._values`.

Decisions (`index`, `routing`, `explain`)
    `routing.Router.decide` returns the upstream and the stream of an event, or why it is refused. `index` finds the few
    routes that may take an event, so that a thousand routes cost no more than ten. `explain` shows the decision of the
    same function.

Problems beyond a single key (`audit`, `inspection`, `streamconfig`)
    `audit` finds routes and entries that have no effect. `inspection` runs all checks and the `tests:` of the file;
    `check` reports what it refuses, and no sidecar starts with it or loads it. `streamconfig` compares the file with
    the declared streams, only for `check`.

All streams (`samples`, `texts`, `ways`)
    `samples` lists the streams and pods that a file names, with an example from `texts` of each pattern; `ways` is the
    table of where each stream goes.

What does not belong here: watching and reloading the file (`serve`), printing (`commands`), and choosing an endpoint of
an upstream (`upstreams`).

Doors: language, file, index, routing, explain, samples, ways, inspection, streamconfig.
Pure: audit, explain, index, inspection, routing, samples, streamconfig, texts, ways.
"""
