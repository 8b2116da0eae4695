"""The network, and the modules that are trained on top of it."""
