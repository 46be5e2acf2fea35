"""The upstreams: their endpoints, how healthy these are, and in which order to try them.

State (`endpoints`)
    A `Pool` per upstream, an `Endpoint` per datacenter of it, an `Address` per IP of an endpoint. The request path and
    the monitor share this state.

Failover (`failover`, `health`)
    `failover.order` returns the addresses that may get an event now, best first, by their health alone.
    `health.TRANSITIONS` lists everything that changes health; the thresholds are in `health.Judge`. When an address is
    ejected is decided in `health`, what is tried instead in `failover`.

Monitoring (`monitor`, `resolver`, `addresses`)
    `monitor` looks up names and checks addresses on their intervals. `resolver` asks DNS and the hosts file;
    `addresses` decides which addresses to use and for how long.

What does not belong here: events, and anything about a single request. `delivery` decides about retries, `eventgate`
does the exchange.

Doors: endpoints, addresses, resolver, health, failover, monitor.
Pure: addresses, health, failover.
"""
