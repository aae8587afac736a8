"""One inner step and its vector-Jacobian product."""
