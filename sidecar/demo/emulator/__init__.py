"""An EventGate to try things on: answers as 1.8.4 does, keeps what it accepted, and fails on demand.

It serves `demo`, the tests and the benchmarks, as a process (`python -m sidecar.demo.emulator`) or inside one
(`running`). It imports nothing of the sidecar outside this folder, so that no misunderstanding of EventGate
can hide in both.

`gate` takes requests, keeps events and plays the faults; `server` puts it on a socket. `answers` has
EventGate's words, `bodyparser` reads a body as its body parser does, `ajv` judges an event as its validator.
"""

from sidecar.demo.emulator.gate import EventGateEmulator, Fault
from sidecar.demo.emulator.server import running

__all__ = ["EventGateEmulator", "Fault", "running"]
