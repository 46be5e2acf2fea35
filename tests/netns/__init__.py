"""Failover with real hosts on one machine: network namespaces, a real DNS server, TLS, and faults.

`python -m tests.netns` runs it and prints the table; `tests/test_failover_lab.py` runs a part of it as tests.

`needs` says whether it can run here. `network` creates the hosts, `nameserver` and `datacenter` what runs on them, and
`lab` all of it. `pod` starts the sidecar and the traffic (`load`). `faults` has the faults, some of which need a
`relay`. `scenarios` lists the experiments with their bars, `experiment` runs one of them, `measure` counts, `report`
writes.
"""
