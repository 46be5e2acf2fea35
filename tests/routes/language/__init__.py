"""Tests of `sidecar.routes.language`."""
