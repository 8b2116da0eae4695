"""Model files of other projects, one format a file: foreign names in, a `BiLM` out."""
