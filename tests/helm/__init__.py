"""The charts, rendered by the real Helm engine, and held against what a cluster would say."""
