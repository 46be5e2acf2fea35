"""Tests of `sidecar.status`."""
