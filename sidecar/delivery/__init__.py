"""How a load is delivered: what travels together, where to, how often, and until when.

What travels together (`batching`, `coalescer`)
    `batching` decides: which events may share an array, under which headers, and when it leaves. `coalescer` keeps the
    loads that wait, hands each caller its statuses, and halves an array that is refused as a whole.

What is tried (`sender`, `journey`, `tries`)
    `sender` puts each load on a `Journey`: the one loop that tries again, and the one timer for it.
    `upstreams.failover` says which address is next. A `Try` is one attempt, and what its end says about its address.

What is known of each event over all attempts (`answers`)
    The events with which EventGate met an error are sent to the next endpoint; the others are settled.

What is copied (`mirror`)
    Copies of accepted events for another upstream: bounded, sent once, never waited for.

What may be tried again (`retry`)
    What each class of failure allows, and what producers are told of events that no endpoint took.

Traces follow loads and attempts through an `Observer` (`tries`).

What does not belong here: sockets (`eventgate`), the disk (`spool`), HTTP answers (`intake`).

Doors: batching, coalescer, mirror, retry, sender, tries.
Pure: answers, batching, retry.
"""
