"""Tests of `sidecar.eventgate`."""
