"""The parts of a training loop: optimizer, step, checkpoints, log."""
