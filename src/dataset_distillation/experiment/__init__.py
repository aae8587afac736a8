"""One experiment: from a Hydra config to objects."""
