"""What travels together, where to, how often, until when."""
