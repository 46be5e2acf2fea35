"""What a running sidecar says of itself, and the client that asks it.

What is true now (`gather`, `value`, `problems`)
    `gather` reads what other parts know, as it is at one moment, and makes one `Status` of it. `value` says what a
    `Status` is made of; `problems` what is wrong, the worst first, and the one sentence on top of the page.

How it looks (`page`, `flow`, page.html.j2, page.css, page.js; `runbook`, runbook.html.j2)
    `page` decides order, words and shapes; the template writes them and escapes whatever it writes. Nothing of it is
    loaded before the first view. `flow` lays out the picture of the last minute. `runbook` makes docs/runbook.md a
    page, for whoever has no other way to it.

What answers now (`probe`)
    `probe` looks every name up and checks every address: for the command of that name, and for `http`.

How it is answered (`http`, `sse`, `cluster`, openapi.yaml)
    `http` has what begins with /_sidecar/, for the sidecar's own machine. `sse` is for answers that go on: the live
    page and the tap. `cluster` is the listener for the cluster: metrics and probes. A new answer is described in
    openapi.yaml, which a test compares with the routes.

How it is asked (`ask`)
    What the commands `top`, `tap` and `explain --running` ask of the sidecar that runs here. `serve` never loads it.

What must not come here: anything that changes something. Whoever asks learns what is, and nothing is different
afterwards.

Doors: http, cluster, gather, sse, value, problems, probe, ask.
Pure: value, problems, flow, page.
"""
