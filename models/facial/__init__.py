"""VL-FAU: facial action units recognised, and described in words. A reconstruction of arXiv 2408.00644."""
