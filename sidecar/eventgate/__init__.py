"""One POST or one health check to one address of EventGate, and what its end means."""
