"""Everything an upstream, its TLS and its name servers can do to a sidecar; each thing is found by its name.

Real sockets and real TLS throughout. What is asked each time: what did the producer get, does the reason help an
operator, was anything lost or called accepted that was not, and is everything given back afterwards.

`test_answers` has answers to POSTs, `test_tls` handshakes, `test_memory` what all of it costs, `test_dns` answers of
name servers. What an upstream can answer to a health check is in tests/eventgate/test_healthcheck.py, silence and
garbage in place of DNS in tests/upstreams/test_resolver.py, and where nothing may ever go in
tests/end_to_end/test_only_configured.py.
"""
