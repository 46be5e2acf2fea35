"""Tests of `sidecar.routes`."""
