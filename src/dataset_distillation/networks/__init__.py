"""Networks: their weights, their ordinary training, and pools of pretrained networks."""
