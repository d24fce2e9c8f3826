"""The parts of a training loop, for any model and data: optimizer, step, divergence watch, checkpoints, log, trackers.

None of them knows the settings of a run: they take plain arguments. Their messages name settings as `train.KEY`, the
section that every trainer's settings have.
"""
