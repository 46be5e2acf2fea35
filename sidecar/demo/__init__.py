"""`eventgate-sidecar demo`: everything on one machine, and a proof of where each event went.

What runs (`stage`)
    Three emulated EventGates and the sidecar, each a process on a loopback address, under the shipped routes. One
    EventGate hangs for a while.

Who posts, and what became of it (`modelserver`, `proof`)
    `modelserver` makes scores and posts them as Lift Wing's model servers do. `proof` compares what was posted with the
    files in which the EventGates keep what they accepted; the sidecar's own account plays no part.

What is shown (`screen`)
    The summary, in 80 columns or as JSON.

The other end (`emulator`)
    An EventGate of its own, for the demo, the tests and the benchmarks.

What must not come here: anything that a sidecar in production needs. Only `commands` imports this package.

Doors: stage.
Pure: none.
"""
