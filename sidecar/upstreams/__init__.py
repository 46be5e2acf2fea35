"""The upstreams: which endpoints each has, how healthy they are, and in which order to try them.

What there is (`endpoints`)
    A `Pool` for each upstream, an `Endpoint` for each of its datacenters, an `Address` for each IP behind it. This is
    the state that the request path and the watch beside it share.

Where failover is decided (`failover`, `health`)
    `failover.order` says which addresses may get an event now, best first. It looks only at the health of each.
    `health.TRANSITIONS` is the table of everything that changes that health; the thresholds are in `health.Judge`. To
    change when an address is ejected, go to `health`; to change what is tried then, go to `failover`.

What keeps it up to date (`monitor`, `resolver`, `addresses`)
    `monitor` looks names up and checks addresses, each on its interval. `resolver` asks DNS and the hosts file;
    `addresses` decides what to believe of the answer and for how long.

What must not come here: events, and anything about a single request. Whether and when a request is tried again is
`delivery`'s decision, the exchange itself is `eventgate`'s.

Doors: endpoints, addresses, resolver, health, failover, monitor.
Pure: addresses, health, failover.
"""
