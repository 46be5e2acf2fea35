"""The spool: events that no endpoint took, on disk until EventGate has given its verdict on each.

It keeps one promise. An event that was answered 202 is on the disk, and is sent until EventGate takes it or calls it
invalid. Nothing here is loaded unless `serve` was given `--spool DIR`.

What the directory holds (`directory`)
    `spool.db`, one SQLite database with its write-ahead log; `lock`, held by the one sidecar that may write events; and
    files that could not be used, renamed to say when and why. The command line opens the same database while the
    sidecar runs: SQLite's own locks keep the two apart.

What the file holds (`schema`, `record`, `file`)
    Two tables: the events that wait, and the dead letters, which are not sent any more. A row has the bytes as they
    are sent, the upstream, the headers that travel with them, the order key, when the event was first seen, what was
    tried so far, and a checksum over all that must not change. `file` is plain and synchronous SQL. `record` has the
    values that other modules see.

How an event goes in (`keeping`, `ordering`, `store`)
    `keeping` stands between the intake and the coalescer. An event goes into the spool for one of three reasons: no
    endpoint took it in time, its route acknowledges it once it is stored, or an earlier event with its order key is not
    settled yet. `ordering` knows, for each order key, which events are being delivered and how many are stored.

What makes 202 durable (`groupcommit`)
    One thread writes. Everything that is asked of the file while a transaction is being committed goes into the next
    one, so that many events share one fsync. An event counts as stored once its transaction is committed, never before;
    the event loop never waits for the disk. If that takes longer than a second, the event is not stored and its
    producer is told so.

How an event comes out (`replay`, `policy`)
    For each upstream, `replay` takes the oldest events that may be sent, and sends them the way live events go, behind
    live traffic. `policy` decides how many at once, how long to pause after failures, and what an answer means:
    delivered, invalid, an error of this event alone, or a failure that has nothing to do with it. Events with the same
    order key go one after the other.

What damage does (`damage`, `directory`)
    A file that is damaged, of another program, or of a newer version is renamed, and a fresh one takes its place. What
    can be read of a damaged file is copied into the fresh one. A full, read-only or hanging disk changes no file: the
    spool refuses events until the disk works again, and looks once a second. The sidecar starts and serves either way.

How it starts and ends (`lifecycle`)
    It is opened first and closed last. At the end it logs what is left for each stream.

Nothing here speaks HTTP or decides where an event goes: events leave through the coalescer they would have taken live.

Doors: damage, directory, file, lifecycle, record, schema, store.
Pure: record, ordering, policy.
"""
