"""Numbers items, users and interactions."""
