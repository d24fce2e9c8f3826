"""Reads dumps of faces with labels of action units (AUs) into a dataset, and checks and reports on it."""
