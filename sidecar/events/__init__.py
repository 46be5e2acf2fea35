"""The vocabulary: what an event is, byte for byte, what became of it, and how it is handed on.

What comes in (`event`, `scan`)
    A body becomes events. An `Event` is its bytes and the few words that routing needs; it is never parsed and written
    again. `paths` finds the scalars that rules compare, all in one reading. `scan` finds the exact place of each key,
    for what msgspec does not read, and for the two changes that may be made.

What leaves (`outgoing`)
    An `Outgoing` is an event after those changes, a `Load` what leaves together for one upstream. `Deliver` takes a
    load, `Done` is told the status of each of its events: the seam between intake, spool and delivery.

What became of it (`results`)
    An `EventStatus` is EventGate's, with where the event was sent; `Outcome` is what metrics and log count it under.

What must not come here: an HTTP answer (`intake.answer`), and anything that knows an upstream.

Doors: event, outgoing, results.
Pure: event, outgoing, paths, results, scan.
"""
