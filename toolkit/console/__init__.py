"""What a terminal sees: help, progress, colours, exit statuses."""
