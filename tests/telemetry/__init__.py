"""Tests of `sidecar.telemetry`."""
