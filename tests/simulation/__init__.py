"""Deterministic simulation: the real sidecar in a world that a seed determines, and an oracle: `make simulate`.

`plan` turns a seed into a plan. `world` carries it out on the real code of `serve`, with `loop` and `network`. `oracle`
checks the promises, and `story` prints what happened. docs/simulation.md says what is simulated, and what is not.

`power` is separate: it simulates what a power loss may leave of the spool's files.
"""
