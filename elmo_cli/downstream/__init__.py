"""Uses of ELMo features: estimators, probes, labels, plots, search."""
