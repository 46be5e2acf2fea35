"""`routes.yaml`: its keys, its decisions, and its problems.

Keys (`config`, `section`, `pattern`, `scalars`)
    Every key is a field in `config`, with its meaning, unit and default; add new ones there. The field's type decides
    how the value is read, and its JSON Schema for editors. `scalars` reads durations, sizes and URLs. `pattern` has the
    patterns of `match`, and the templates that rename a stream. `section` reads a mapping and collects all problems. A
    new key of `match` also needs a line in `config.Match.patterns`, in `routing._first_mismatch` and in
    `explain._values`.

Reading (`loader`, `yamlmarks`, `yamlwords`, `file`)
    `file` reads the bytes, `yamlmarks` the YAML with the line of each part, and `loader` the sections. `loader` also
    finds contradictions between keys, such as a route to an upstream that does not exist. `yamlwords` explains invalid
    YAML.

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

Doors: config, section, scalars, pattern, file, index, routing, explain, samples, ways, inspection, streamconfig.
Pure: audit, config, explain, index, inspection, loader, pattern, routing, samples, scalars, section, streamconfig,
    texts, ways, yamlmarks, yamlwords.
"""
