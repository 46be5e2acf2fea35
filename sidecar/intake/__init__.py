"""The producers' HTTP: from the bytes of a POST to its one answer.

How bytes become a request (`server`, `protocol`, `request`)
    `server` listens. `protocol` is one connection: order, deadlines, limits, everything that a client may do wrong.
    `request` is a POST of events while it is on a connection.

What is held, and refused (`endpoint`, `body`)
    `endpoint` bounds what is in flight and answers every request once. `body` undoes compression and charset.

What happens to its events (`intake`)
    Each is routed, given an id where it lacks one, and delivered; the last status makes the answer.

What is answered (`answer`)
    All of 201, 202, 207, 400, 500 and 503, in EventGate's words.

Who looks on (`tap`)
    Events as they pass, for whoever listens just now.

What must not come here: what begins with /_sidecar/ (`status`).

Doors: answer, endpoint, intake, request, server, tap.
Pure: answer, body, request, tap.
"""
