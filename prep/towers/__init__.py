"""The rows of a tower: states that an encoder computes from a source, or vectors imported from a file."""
