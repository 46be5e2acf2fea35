"""Everything an upstream, its TLS and its name servers can do to a sidecar; each thing is found by its name.

Real sockets and real TLS throughout. What is asked each time: what did the producer get, does the reason help an
operator, was anything lost or called accepted that was not, and is everything given back afterwards.
"""
