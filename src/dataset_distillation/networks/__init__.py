"""Networks: their weights, their ordinary training, pools of pretrained ones."""
