"""Models by name: catalogue, cache, downloads, and the formats that load as a biLM."""
