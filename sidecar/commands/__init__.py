"""The command line: one module for each command, with its flags and what it prints.

Which commands there are (`cli`)
    The list, each with the first line of its help. Neither `--help` nor completion loads a command's module. A new
    command is a module with a click command of the same name, and a line in the list.

What they share (`terminal`)
    Options that several commands have, tables and counts, and how errors are told.

The sidecar itself (`serve`)

About routes.yaml (`check`, `explain`, `diff`, `streams`, `schema`)
    What they say comes from `routes`; here it becomes text, Markdown, wikitext or JSON.

About endpoints (`probe`), about a sidecar that runs here (`top`, `tap`), about its spool (`spool`)
    `top` and `tap` ask it over HTTP; `spool` opens the file beside it.

A trial without any of it (`demo`)

A module imports click and `terminal` at its top, and the rest in the functions that need it, so that help and
completion are fast.

What must not come here: anything that a running sidecar needs. Its decisions, formats and words are in the packages
below.

Doors: cli.
Pure: schema.
"""
