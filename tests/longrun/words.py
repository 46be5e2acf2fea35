"""The words of docs/reliability.md around its numbers."""

INTRODUCTION = """\
# A long run of trouble

<!-- Written by `python -m tests.longrun --write docs/reliability.md`; do not edit. -->

A sidecar lives for weeks beside its model server, and is killed when nobody expects it. This page shows
{minutes} minutes with all the trouble of such weeks: load between 0 and 2,000 events a second, {faults} faults of
{kinds} kinds, kills ({kills}) and edits of `routes.yaml` ({edits}).

![load, latencies, spool, memory and descriptors over time]({picture})

**How.** The hosts, DNS, TLS and faults are those of [failover.md](failover.md): a pod, a DNS server and two
datacenters, made of network namespaces on one machine, with emulated EventGates. Up to 200 connections stay open
and every seventh request has a new one. Producers post by the clock, whatever became of what they posted before.
Most requests carry one event, some an array of up to 16. Some events are invalid, some have no route, some bodies
are no JSON, and one route answers from the spool. The sidecar has `--spool`, `--last-good` and `--drain 3s`, and
the upstream's settings of failover.md.

There are two acts. In the first the sidecar is killed again and again and started anew on the same spool, as a
kubelet would. From minute {second} on one sidecar lives through everything else: its memory and open files in the
last third of that life are held against those in the first.

**What nothing lost means.** An event is lost if its producer was told 2xx and it is in no EventGate's file at the
end. An invalid event that was spooled, and so answered 202, has to be among the dead letters instead. A POST
without an answer, because its sidecar was killed or none was there, was promised nothing: it is counted apart, and
its events may have arrived or not. *Arrived more than once* counts events, each with the same `meta.id` every time:
an attempt was late or cut off, or a kill came between EventGate's taking it and the spool's noting so.

**What else is checked.** Every second the metrics are held against what the producers know: delivered + invalid +
refused + spooled + failed is neither less than what was answered by then nor more than what was sent, and the same
while nothing is in flight. Latency is that of lone events while nothing is wrong and nothing is getting over it.
Each sidecar ends as it was told to, and none logs a traceback. What may be:
{tolerance}.

**To run it again:** `make long-run ARGS='{arguments}'`, as root on Linux with iproute2, nftables, dnsmasq and
openssl; `--write docs/reliability.md` writes this page. What happens when follows from the seed alone: `--plan`
prints it. CI runs three minutes of it.

This run was made on {today}, on a machine with {cores} cores, which producers, EventGates and sidecar share, and
other programs too: the load average and how late the producers themselves were say how busy it was. With more
programs than cores the peaks of load are answered late or with a 503, and memory goes up by a step at such peaks.
What was not held in such a run is to be tried again on a quiet machine before anything is concluded from it."""

LATENCIES = """\
Lone events, answered 201, while all was well:"""

MINUTES = """\
And by the minute, at whatever load there was:"""

LIMITS = """\
## What this does not show

- The EventGates are emulated, and keep what they take in a file. What Kafka does behind a real one is not tested
  here.
- A kill is SIGKILL. The machine's power stays on, so what fsync is worth is left to the disk and to SQLite.
- The spool's disk outlives the sidecar. With an emptyDir it does so for a container that is restarted, not for a
  pod that is deleted; what is left then is lost, unless `--on-exit print` saved it.
- {minutes} minutes are not weeks: a leak that is slower than what is tolerated above would not be seen.
- Load that a machine cannot carry. At 2,000 events a second, half of them in requests of their own, a busy machine
  answers some with 503 or late; they are in the table.
- One sidecar. What 400 of them do to an EventGate is arithmetic: see [herd.md](herd.md)."""
