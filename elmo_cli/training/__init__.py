"""Training of biLMs: encoded corpora, truncated back-propagation, checkpoints, exported models."""
