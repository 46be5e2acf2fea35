"""The producers' HTTP: from the bytes of a POST to its one answer.

How bytes become a request (`server`, `protocol`, `bounds`, `request`)
    `server` listens. `protocol` is one connection: its requests, and the order of their answers. `plain` reads the
    usual request without a parser. `bounds` is the part of the connection that knows what it may hold, and how long it
    may take. `request` is a POST of events while it is on a connection.

What is held, and refused (`budget`, `endpoint`, `body`)
    `budget` counts the bytes that are held for clients of both listeners. `endpoint` takes bodies from it and answers
    every request once. `body` undoes compression and charset.

Whose word is believed (`origins`)
    A gateway takes the spools of networks that a setting names, and believes the labels that come with them.

What happens to its events (`intake`)
    Each is routed, given an id where it lacks one, and delivered; the last status makes the answer.

What is answered (`answer`)
    All of 201, 202, 207, 400, 500 and 503, in EventGate's words.

Who looks on (`tap`)
    Events as they pass, for whoever listens just now.

What must not come here: what begins with /_sidecar/ (`status`).

Doors: answer, budget, endpoint, intake, origins, request, server, tap.
Pure: answer, body, budget, origins, plain, request, tap.
"""
