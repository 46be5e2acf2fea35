"""The spool: undelivered events, on disk until EventGate has given its verdict on each.

An event that was answered 202 is on disk, and is sent until EventGate takes it or calls it invalid. Nothing here is
loaded without `--spool DIR`.

The directory (`directory`)
    `spool.db`, a SQLite database with its write-ahead log, and files that could not be used, renamed with time and
    reason. The sidecar that uses the directory locks it; the file `lock` only names the process. The command line opens
    the same database while the sidecar runs, protected by SQLite's own locks. The write-ahead log needs one fsync for a
    transaction, a rollback journal four.

The file (`schema`, `record`, `file`)
    Two tables: waiting events, and dead letters, which are no longer sent. A row has its number, assigned by the
    transaction that stores it; the bytes to send, the upstream and the headers to pass on; the stream that the event
    came with; a hash of its order key; when it was first seen and what was tried; and a checksum over all that must not
    change. `file` is plain synchronous SQL; SQLite itself limits the size. `record` has the values for other modules.

Storing an event (`keeping`, `policy`, `store`)
    `keeping` is between intake and coalescer. It stores an event for one of three reasons: no endpoint took it in time,
    its route acknowledges it once it is stored, or an earlier event with its order key is not settled.
    `policy.Ordering` knows the busy order keys: in flight, being written, or stored. Before the file is read, all keys
    are busy.

Durability (`groupcommit`)
    One thread writes. Operations that arrive during a commit go into the next transaction, so that many events share
    one fsync. An event counts as stored once its transaction is committed. The event loop never waits for the disk; if
    a commit takes longer than a second, the event is not stored and its producer is told so.

Sending an event (`replay`, `policy`)
    For each upstream, `replay` takes the oldest events that may be sent, routes each again if the configuration
    changed, and sends them with lower priority than live events, and in separate arrays. `policy` decides how many at
    once, how long to pause after failures, and what an answer means: delivered, invalid, the event's fault, or a
    failure unrelated to it. A failed event goes behind the others and is sent alone. Events with the same order key are
    sent one after the other.

Damage (`damage`, `directory`)
    A file that is damaged, of another program or of a newer version is renamed and replaced. A damaged file is read
    page by page without SQLite; every event with a valid checksum goes into the new file, which gets its name once it
    is complete. A file of an older version is migrated in the same way. A full, read-only or hanging disk changes no
    file: the spool refuses events and checks the disk once a second. The sidecar starts and serves in all these cases.

Hand-over (`handover`)
    A pod's disk may be deleted with the pod. Events left at the end, or when the spool is nearly full in an outage, are
    sent to a gateway, and deleted here once the gateway has stored them.

Start and end (`lifecycle`)
    The spool is opened first and closed last. At the end it hands over waiting events, and logs what is left of each
    stream.

What does not belong here: HTTP, and routing: events are sent through the coalescer, like live ones.

Doors: directory, file, lifecycle, policy, record, schema.
Pure: record, policy.
"""
