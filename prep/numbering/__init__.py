"""Items, users and their interactions become numbers."""
