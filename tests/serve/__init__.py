"""Tests of `sidecar.serve`."""
