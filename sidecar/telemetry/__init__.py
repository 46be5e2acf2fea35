"""What happens, as values; the log lines and metrics that they become."""
