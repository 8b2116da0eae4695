"""Interrupted runs: what is kept, how they are resumed, and which errors they report."""
