"""Sentences to vectors: embedder, pipeline, embed job, benchmark."""
