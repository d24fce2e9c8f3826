"""A run's folder: how it begins, what is recorded in it, and the trained model that it holds."""
