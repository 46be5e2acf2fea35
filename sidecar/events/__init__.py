"""What an event is, byte for byte, and what becomes of it."""
