"""An EventGate to try things on: it answers as 1.8.4 does, keeps what it accepted, and fails on demand.

The demo, the tests and the benchmarks run it as a process (`python -m sidecar.demo.emulator`) or in their own event
loop (`server.running`). It imports nothing from outside this folder: if it shared code with the sidecar, both could
share a mistake about EventGate, and no test would notice.

`gate` takes requests, keeps events and plays the faults; `server` puts it on a socket. `answers` has EventGate's
words, `bodyparser` reads a body as its body parser does, and `ajv` validates an event as its validator does.
"""
