"""Networks: their weights, and their ordinary training."""
