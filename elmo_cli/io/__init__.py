"""Files and bytes: atomic output, compression, archives, locks, limits for untrusted files.

The package is independent of sentences and tensors.
"""
