"""What no endpoint took, on disk, and sending it again."""
