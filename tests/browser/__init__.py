"""The status page as an operator sees it: a real sidecar in trouble, in a real browser."""
