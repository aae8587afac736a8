"""Pools of pretrained networks: how they are trained, and where they are kept."""
