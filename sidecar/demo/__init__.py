"""`eventgate-sidecar demo`: everything on one machine, and a check of where each event went.

Processes (`stage`)
    Three emulated EventGates and the sidecar, each a process on a loopback address, with the shipped routes. One
    EventGate hangs for a while.

Events (`modelserver`, `proof`)
    `modelserver` creates scores and posts them as Lift Wing's model servers do. `proof` compares the posted events with
    the files of accepted events that the EventGates write, independently of the sidecar.

Output (`screen`)
    The summary, in 80 columns or as JSON.

EventGate (`emulator`)
    An emulated EventGate for the demo, the tests and the benchmarks.

What does not belong here: anything that a sidecar in production needs. Only `commands` imports this package.

Doors: stage.
Pure: none.
"""
