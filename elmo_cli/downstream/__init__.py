"""Uses of feature files: probes, pictures and search. They read any format through `open_features`."""
