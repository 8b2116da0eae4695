"""Resumable runs: each window is kept in a work folder beside the output until it is complete."""
