"""What `serve` builds, swaps, traces and stops."""
