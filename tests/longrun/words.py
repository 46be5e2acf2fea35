"""The prose of docs/reliability.md around its numbers."""

INTRODUCTION = """\
# A long run with faults

<!-- Written by `python -m tests.longrun --write docs/reliability.md`; do not edit. -->

A sidecar runs for weeks beside its model server, and can be killed at any moment. This page shows {minutes} minutes
with all the faults of such weeks: load between 0 and 2,000 events a second, {faults} faults of {kinds} kinds,
kills ({kills}) and edits of `routes.yaml` ({edits}).

![load, latencies, spool, memory and descriptors over time]({picture})

**How.** The hosts, DNS, TLS and faults are those of [failover.md](failover.md): a pod, a DNS server and two
datacenters, made of network namespaces on one machine, with emulated EventGates. Up to 200 connections stay open,
and every seventh request opens a new one. Producers post at fixed times, whatever happened to their earlier posts.
Most requests carry one event, some an array of up to 16. Some events are invalid, some have no route, some bodies
are not JSON, and one route answers from the spool. The sidecar has `--spool`, `--last-good` and `--drain 3s`, and
the same settings of the upstream as in failover.md.

The run has two parts. In the first, the sidecar is killed repeatedly and restarted on the same spool, as a kubelet
would do. From minute {second} on, one sidecar runs through everything else. Its memory and open files in the last
third of that time are compared with those in the first third.

**What nothing lost means.** An event is lost if its producer got a 2xx and the event is in no EventGate's file at the
end. An invalid event that was spooled, and so answered 202, must be among the dead letters instead. A POST without an
answer, because its sidecar was killed or not running, has no promise. Such POSTs are counted separately, and their
events may have arrived or not. *Arrived more than once* counts events that arrived again with the same `meta.id`:
an attempt was late or cut off, or a kill came after EventGate took the event and before the spool recorded it.

**What else is checked.** Every second, the metrics are compared with the producers' counts: delivered + invalid +
refused + spooled + failed is at least what was answered by then and at most what was sent, and equal while nothing is
in flight. Latency is measured for lone events, outside of faults and the recovery from them. Each sidecar must exit
as it was told to, and none may log a traceback. Tolerated:
{tolerance}.

**To run it again:** `make long-run ARGS='{arguments}'`, as root on Linux with iproute2, nftables, dnsmasq and
openssl; `--write docs/reliability.md` writes this page. The seed alone decides what happens when; `--plan` prints the
schedule. CI runs three minutes of it.

This run was made on {today}, on a machine with {cores} cores. Producers, EventGates, the sidecar and other programs
share it: the load average and the producers' own delays show how busy it was. With more programs than cores, peaks
of load are answered late or with a 503, and memory rises by a step at such peaks. If a check fails in such a run,
repeat it on a quiet machine before drawing conclusions."""

LATENCIES = """\
Latency of lone events answered 201, outside of faults:"""

MINUTES = """\
By minute, at the load of that minute:"""

LIMITS = """\
## What this does not show

- The EventGates are emulated, and keep what they accept in a file. What Kafka does behind a real one is not tested
  here.
- A kill is SIGKILL, and the machine's power stays on. What a power loss leaves is simulated elsewhere
  (`python -m tests.simulation.power`), from the writes and fsyncs of a real sidecar.
- The spool's disk outlives the sidecar. An emptyDir outlives a container that is restarted, but not a pod that is
  deleted; events that are left then are lost, unless `--on-exit print` saved them.
- {minutes} minutes are not weeks: a leak that is slower than the tolerances above would not be noticed.
- Load that a machine cannot carry. At 2,000 events a second, half of them in separate requests, a busy machine
  answers some with 503 or late; they are in the table.
- One sidecar only. What 400 of them do to an EventGate is calculated in [herd.md](herd.md)."""
