"""Tests of `sidecar.commands`."""
