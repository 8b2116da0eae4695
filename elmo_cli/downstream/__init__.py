"""Uses of ELMo features: estimators, probes, taggers, plots."""
