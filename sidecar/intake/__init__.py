"""The producers' HTTP server: from the bytes of a POST to its answer.

Connections (`server`, `protocol`, `plain`, `bounds`, `request`)
    `server` listens. `protocol` is one connection: it reads requests and keeps their answers in order. `plain` reads
    the usual request without a parser. `bounds` is its base class, with the limits of memory and time. `request` is a
    POST of events in progress.

Requests (`budget`, `endpoint`, `body`)
    `budget` counts the bytes held for clients of both listeners. `endpoint` collects bodies within it and answers every
    request once. `body` undoes compression and charset.

Hand-overs (`origins`)
    A gateway takes spools, and their labels, only from the networks that a setting names.

Events (`intake`)
    Each event gets an id if it has none, and is routed and delivered; the last status completes the answer.

Answers (`answer`)
    All of 201, 202, 207, 400, 500 and 503, in EventGate's terms.

Live view (`tap`)
    Copies of passing events for the current listeners.

What does not belong here: paths under /_sidecar/ (`status`).

Doors: answer, budget, endpoint, intake, origins, request, server, tap.
Pure: answer, body, budget, origins, plain, request, tap.
"""
