"""Evaluation results: comparisons of runs, tables and plots."""
