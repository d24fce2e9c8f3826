"""Parts of prep check: files, rows and their source files."""
