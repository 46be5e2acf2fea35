"""Tests of `sidecar.events`."""
