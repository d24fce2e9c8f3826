"""Sources become an encoder's states, or vectors become a tower."""
