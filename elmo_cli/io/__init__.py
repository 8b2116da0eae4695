"""Files and bytes: atomic output, compression, archives, locks, limits on untrusted files. Knows no sentence and no tensor."""
