"""Tests of `sidecar.intake`."""
