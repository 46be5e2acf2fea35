"""Delivers a load: batching, attempts, retries and deadlines.

Batching (`batching`, `coalescer`)
    `batching` decides which events may share an array, with which headers, and when it leaves. `coalescer` keeps the
    waiting loads, passes each caller its statuses, and halves an array that is refused as a whole.

Attempts (`sender`, `journey`, `tries`)
    `sender` starts a `Journey` for each load: the only retry loop, with its timer. `upstreams.failover` chooses the
    next address. A `Try` is one attempt, and what its result says about its address.

Statuses over all attempts (`answers`)
    Events for which EventGate returned an error are sent to the next endpoint; the others are settled.

Mirrors (`mirror`)
    Copies of accepted events for another upstream: bounded, sent once, and without delaying an answer.

Retries (`retry`)
    What each class of failure allows, and what producers are told about events that no endpoint took.

Traces follow loads and attempts through an `Observer` (`tries`).

What does not belong here: sockets (`eventgate`), the disk (`spool`), HTTP answers (`intake`).

Doors: batching, coalescer, mirror, retry, sender, tries.
Pure: answers, batching, retry.
"""
