"""From the name of a model to a loaded biLM: catalogue, cache, download, formats."""
