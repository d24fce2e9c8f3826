"""Converts covers, released frames and clips to pictures of one size."""
