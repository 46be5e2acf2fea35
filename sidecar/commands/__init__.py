"""The command line: one module per command, with its flags and its output.

The list (`cli`)
    Each command with the first line of its help, so that neither `--help` nor completion loads its module. A new
    command is a module with a click command of the same name, and a line in the list. `demo` prints nothing of its own,
    so it has no module: `cli` calls the package `demo`, whose sidecar gets its hosts file from `__main__`.

Shared code (`terminal`)
    Common options, tables, counts, and error messages.

The sidecar (`serve`)

Commands about routes.yaml (`check`, `explain`, `diff`, `streams`, `schema`)
    They format results of `routes` as text, Markdown, wikitext or JSON.

Commands about endpoints (`probe`), a running sidecar (`top`, `tap`) and its spool (`spool`)
    `top` and `tap` use HTTP; `spool` opens the file.

A module imports click and `terminal` at its top, and everything else in the functions that need it, so that help and
completion are fast.

What does not belong here: anything that a running sidecar needs.

Doors: cli.
Pure: schema.
"""
