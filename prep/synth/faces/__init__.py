"""Procedural faces whose action units move as FACS describes them, in the layout of the lists of BP4D and DISFA."""
