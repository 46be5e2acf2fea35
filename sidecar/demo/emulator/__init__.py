"""An emulated EventGate: it answers as 1.8.4 does, stores accepted events, and fails on demand.

The demo, the tests and the benchmarks run it as a process (`python -m sidecar.demo.emulator`) or in their own event
loop (`server.running`). It shares no code about EventGate with the sidecar: a mistake in both would go unnoticed.

`gate` handles requests, stores events and simulates faults; `server` serves it on a socket. `answers` has EventGate's
answers, `bodyparser` parses a body as its body parser does, and `ajv` validates an event as its validator does, with
the regular expressions of `ecmascript`.

What does not belong here: anything that the real EventGate does not do, except faults.

Doors: none.
Pure: none.
"""
