"""Failover with real hosts on one machine: network namespaces, a real DNS server, TLS, and faults.

`python -m tests.netns` runs it and prints the table; `tests/test_failover_lab.py` holds the sidecar to it.

`needs` says whether it can run here. `network` makes the hosts, `nameserver` and `datacenter` what runs on
them, `lab` all of it together. `pod` starts the sidecar and the traffic (`load`); `faults` breaks things,
some of them through a `relay`. `scenarios` is the table of what is tried and what must hold, `experiment`
runs one line of it, `measure` counts, `report` writes.
"""
