"""Covers, released frames and clips become pictures of one size."""
