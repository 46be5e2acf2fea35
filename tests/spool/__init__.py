"""Tests of `sidecar.spool`."""
