"""What a running sidecar says about itself, and the client for it.

The state (`gather`, `value`, `problems`)
    `gather` reads the state of other parts at one moment into a `Status`. `value` defines a `Status`; `problems` lists
    what is wrong, the worst first, and writes the sentence at the top of the page.

The page (`page`, `flow`, page.html.j2, page.css, page.js; `runbook`, runbook.html.j2)
    `page` decides order, text and shapes; the template renders and escapes them. It is loaded at the first view. `flow`
    lays out the picture of the last minute. `runbook` serves docs/runbook.md as a page.

The probe (`probe`)
    Looks up every name and checks every address once, for the command `probe` and for `http`.

HTTP (`http`, `sse`, `cluster`, openapi.yaml)
    `http` answers paths under /_sidecar/, for the sidecar's own machine. `sse` has the streams: the live page and the
    tap. `cluster` is the listener for the cluster: metrics and probes. All answers are described in openapi.yaml, which
    a test compares with the routes.

The client (`ask`)
    Requests of the commands `top`, `tap`, `probe --running` and `explain --running`. `serve` never loads it.

What does not belong here: anything that changes the state.

Doors: http, cluster, gather, sse, value, problems, probe, ask.
Pure: value, problems, flow, page.
"""
