"""A biLM trained: corpus to windows, windows to gradients, checkpoints to a folder that `elmo embed` loads."""
