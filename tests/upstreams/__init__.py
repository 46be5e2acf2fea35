"""Tests of `sidecar.upstreams`."""
