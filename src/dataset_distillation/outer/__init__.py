"""Algorithm 1: the outer optimization of the distilled data."""
