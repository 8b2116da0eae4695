"""Model formats of other projects: one module each, which loads its files as a `BiLM`."""
