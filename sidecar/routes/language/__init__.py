"""What `routes.yaml` may say: its keys, how their values are written, and how a file is read.

Keys (`config`, `section`)
    Every key is a field in `config`, with its meaning, unit and default; add new ones there. The field's type decides
    how the value is read, and its JSON Schema for editors. `section` reads a mapping and collects all problems.

Values (`scalars`, `pattern`)
    `scalars` reads durations, sizes and URLs. `pattern` has the patterns of `match`, and the templates that rename a
    stream.

Reading (`loader`, `marks`, `mistakes`)
    `marks` reads the YAML, with the line of each part. `loader` reads the sections and finds contradictions between
    keys, such as a route to an upstream that does not exist. `mistakes` explains invalid YAML.

What does not belong here: decisions about events, and checks that need them (`routes`).

Doors: config, loader, marks, pattern, scalars, section.
Pure: config, loader, marks, mistakes, pattern, scalars, section.
"""
