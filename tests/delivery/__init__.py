"""Tests of `sidecar.delivery`."""
