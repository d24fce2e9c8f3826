"""What a browser sees: a report's page, its style and its drawings."""
