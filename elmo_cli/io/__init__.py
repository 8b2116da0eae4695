"""Files and bytes: atomic output, compression, archives, locks, limits for untrusted files; independent of sentences and tensors."""
