"""The sidecar as it is run: real processes on loopback sockets, nothing inside them looked at."""
