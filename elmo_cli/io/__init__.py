"""Files of strangers: what they declare is looked at before a library makes room for it, or is brought down by it."""
