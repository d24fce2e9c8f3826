"""What in a dataset changes a result without being a result: one module per kind of finding."""
