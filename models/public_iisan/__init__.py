"""Weights of the public IISAN code, by its names for them."""
