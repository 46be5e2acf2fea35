"""The status page of a real sidecar in trouble, in a real browser."""
