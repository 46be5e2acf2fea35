"""Which endpoints there are, how they are, and in which order to try them."""
