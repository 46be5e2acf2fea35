"""One exchange with one address of EventGate, a POST or a health check, and its result.

POST (`client`, `connection`)
    `client` writes the request and pools the connections to an address. `connection` is one of them: HTTP/1.1, one
    exchange at a time. The caller enforces deadlines.

Verdict (`verdict`)
    The status of each event. EventGate echoes failures only; `verdict` matches them with the events sent.

Failure (`failures`)
    A `FailureClass` says whether EventGate may have taken the events; `delivery.retry.may_try_again` decides what
    follows from it. The error messages are there too.

Trust (`trust`)
    The certificates of `tls.ca_file`, read again when the file changes.

Hand-over (`gateway`)
    A POST of spooled events that only a gateway takes, and the one answer that confirms it.

Health check (`healthcheck`)
    TCP connect, TLS handshake, GET, each timed.

What does not belong here: which address to use, and whether to try again (`upstreams`, `delivery`).

Doors: client, failures, gateway, healthcheck, trust.
Pure: failures, verdict.
"""
