"""Benchmark of embedding on this machine, relative to the speed of its matrix products."""
