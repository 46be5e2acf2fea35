"""The tests: one file per module of `sidecar`, and what they share."""
