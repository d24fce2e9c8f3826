"""The run folder: how a run begins, what the folder records, and the trained model in it."""
