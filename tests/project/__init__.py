"""What concerns the project as a whole."""
