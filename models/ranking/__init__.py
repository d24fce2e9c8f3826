"""Scores of all catalogue items per user: ranks of the targets, and top-k items."""
