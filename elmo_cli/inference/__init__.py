"""Sentences to vectors, on one machine or many."""
