"""One exchange with one address of EventGate, a POST or a health check, and what its end means.

How a POST goes out (`client`, `connection`)
    `client` writes the request and holds the connections to an address. `connection` is one of them: HTTP/1.1, one
    exchange at a time. The caller enforces deadlines.

What an answer says of each event (`verdict`)
    EventGate echoes failures only; `verdict` finds each event again.

What a failure means (`failures`)
    A `FailureClass` says whether EventGate may have taken the events; add a new one there, and say in
    `delivery.retry.may_try_again` what follows from it. The words for an error are there too.

Who may be trusted (`trust`)
    The certificates of `tls.ca_file`, read again when the file changes.

How an address is checked (`healthcheck`)
    Connect, shake hands, GET, each phase timed.

What must not come here: which address is asked, and whether to try again (`upstreams`, `delivery`).

Doors: client, failures, healthcheck, trust.
Pure: failures, verdict.
"""
