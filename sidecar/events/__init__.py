"""The vocabulary: an event, byte for byte, its status, and how it is passed on.

What comes in (`event`, `scan`)
    `event` splits a body into events. An `Event` is its bytes and the few values that routing needs; it is never parsed
    and serialised again. `paths` finds all scalars that rules compare in one pass. `scan` finds the exact place of each
    key, for what msgspec does not read and for the two edits that are allowed.

What leaves (`outgoing`)
    An `Outgoing` is an event after those edits, a `Load` the events that leave together for one upstream. `Deliver`
    takes a load, `Done` its statuses: the interface between intake, spool and delivery.

What became of it (`results`)
    An `EventStatus` is EventGate's, with the endpoint; `Outcome` is the label in metrics and log.

What does not belong here: HTTP answers (`intake.answer`), and anything about upstreams.

Doors: event, outgoing, results.
Pure: event, outgoing, paths, results, scan.
"""
