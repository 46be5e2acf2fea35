"""A world that one seed decides, with the real sidecar in it, and an oracle that holds its promises: `make simulate`.

`plan` turns a seed into what happens; `world` lets it happen to the real code of `serve`, on `loop` and `network`;
`oracle` judges; `story` tells. docs/simulation.md says what is simulated, and what is not.

`power` is a world of its own: what a power loss may leave of the spool's files.
"""
