"""Uses of features: probes of their layers, and the labels that these need."""
