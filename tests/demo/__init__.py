"""Tests of `sidecar.demo`."""
