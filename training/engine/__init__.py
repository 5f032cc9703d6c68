"""The training loop, and what stands around it: folds, checks, checkpoints, devices."""
