"""The spool: events that no endpoint took, on disk until EventGate has given its verdict on each.

It keeps one promise. An event that was answered 202 is on the disk, and is sent until EventGate takes it or calls it
invalid. Nothing here is loaded unless `serve` was given `--spool DIR`.

What the directory holds (`directory`)
    `spool.db`, one SQLite database with its write-ahead log, and files that could not be used, renamed to say when and
    why. The directory itself is locked by the one sidecar that uses it; `lock` only names that process. The command
    line opens the same database while the sidecar runs: SQLite's own locks keep the two apart. The log is worth its
    care: a rollback journal takes four fsyncs for a transaction instead of one.

What the file holds (`schema`, `record`, `file`)
    Two tables: the events that wait, and the dead letters, which are not sent any more. A row has its number, given by
    the transaction that stores it; the bytes as they are sent, the upstream, the headers that travel with them; the
    stream that the event came with; a hash of its order key; when it was first seen, what was tried so far; and a
    checksum over all that must not change. `file` is plain and synchronous SQL, and SQLite itself holds the size.
    `record` has the values that other modules see.

How an event goes in (`keeping`, `ordering`, `store`)
    `keeping` stands between the intake and the coalescer. An event goes into the spool for one of three reasons: no
    endpoint took it in time, its route acknowledges it once it is stored, or an earlier event with its order key is not
    settled yet. `ordering` knows which order keys are busy: delivered live, being written, or stored. Before the file
    was read that is all of them.

What makes 202 durable (`groupcommit`)
    One thread writes. Everything that is asked of the file while a transaction is being committed goes into the next
    one, so that many events share one fsync. An event counts as stored once its transaction is committed, never before;
    the event loop never waits for the disk. If that takes longer than a second, the event is not stored and its
    producer is told so.

How an event comes out (`replay`, `policy`)
    For each upstream, `replay` takes the oldest events that may be sent, routes each again by the configuration in
    force, and sends them behind live traffic, never in one array with it. `policy` decides how many at once, how long
    to pause after failures, and what an answer means: delivered, invalid, a fault of this event, or a failure that has
    nothing to do with it. What failed goes behind the others and is sent alone. Events with the same order key go one
    after the other.

What damage does (`damage`, `directory`)
    A file that differs from what it must be is renamed, and so is one of another program or of a newer version; a fresh
    one takes its place. A damaged file is read page by page without SQLite, and every event whose checksum fits goes
    into the fresh one, which is complete before it gets the name. A file of an older version is migrated the same way.
    A full, read-only or hanging disk changes no file: the
    spool refuses events until the disk works again, and looks once a second. The sidecar starts and serves either way.

How events change hands (`handover`)
    A pod's disk may go with the pod. What still waits at the end, or when the spool is nearly full in an outage, is
    sent to a gateway, and forgotten here once the gateway has it on its own disk.

How it starts and ends (`lifecycle`)
    It is opened first and closed last. At the end it hands over what waits, and logs what is left for each stream.

Nothing here speaks HTTP or decides where an event goes: events leave through the coalescer they would have taken live.

Doors: damage, directory, file, lifecycle, policy, record, schema, store.
Pure: record, ordering, policy.
"""
