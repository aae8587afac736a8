"""Algorithm 1: the optimization of the distilled data."""
