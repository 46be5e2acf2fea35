"""What a running sidecar says of itself, and the client that asks."""
