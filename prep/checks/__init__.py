"""What prep check compares: files, rows and the sources they came from."""
